"""Connections, the request path, body senders."""
