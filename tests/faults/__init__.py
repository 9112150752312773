"""The fault kit: what breaks on purpose, and says how often it did."""
