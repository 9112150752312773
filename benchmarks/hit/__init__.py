"""Hits beside nginx and Varnish: rates, CPU time and spread, by protocol and size."""
