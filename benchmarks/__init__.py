"""Benchmarks: hits beside nginx and Varnish, followers of a cold archive, a bounded soak."""
