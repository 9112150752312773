"""What a cache does when the origin is slow, breaks, or is asked for a part: side by side."""
