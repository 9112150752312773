"""Pure functions of the hit path, one by one: nanoseconds per call, with their spread."""
