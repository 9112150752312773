"""Status and version for operators."""
