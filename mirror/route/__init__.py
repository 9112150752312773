"""Request targets to routes: one file per grammar, pure."""
