"""Work on the whole store: looking it through, comparing it with upstream."""
