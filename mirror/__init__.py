"""A caching, verifying edge for Rust releases and crates."""

__version__ = "0.1.0"
