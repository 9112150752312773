"""Blobs by sha256, the metadata index, the state database, the shared page."""
