"""Deciding, flights, the filler, and the worker-keeper protocol."""
