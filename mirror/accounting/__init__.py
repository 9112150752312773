"""Counters of what was served and fetched."""
