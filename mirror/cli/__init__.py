"""The commands of rust-mirror."""
