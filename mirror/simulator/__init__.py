"""A believable Rust upstream with scripted faults."""
