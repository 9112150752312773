"""Digests and the documents that state them."""
