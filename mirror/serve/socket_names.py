"""The addresses of a socket's two ends, as `get_extra_info` tells them.

Runs in: worker. Pure.
"""

from __future__ import annotations


def host_of(address: object) -> str:
    """Return the host part of a socket address; empty for a unix socket."""
    return str(address[0]) if isinstance(address, tuple) else ""


def address_of(address: object) -> tuple[str, int]:
    """Return host and port of a socket address; ("", 0) for a unix socket."""
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else ("", 0)
