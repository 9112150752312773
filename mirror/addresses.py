"""Listen addresses: "127.0.0.1:8080" and "[::1]:8080".

Rules:
1. Only address literals: a name could resolve to several addresses, or to none at boot.
2. An IPv6 literal stands in brackets; port 0 lets the kernel choose (tests, the demo).

Does not: open sockets.
Runs in: supervisor, keeper, commands. Pure.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

ADDRESS_FORM = 'an address and port such as "127.0.0.1:8080", "0.0.0.0:8080" or "[::]:8080"'


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """`host` without brackets; `port` 0 to 65535."""

    host: str
    port: int
    is_ipv6: bool

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """Return the address. Raises ValueError with what is allowed."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(ADDRESS_FORM)
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError as exc:
        raise ValueError(ADDRESS_FORM) from exc
    if bracketed != (address.version == 6):
        raise ValueError(ADDRESS_FORM)
    return ListenAddress(host=str(address), port=int(port), is_ipv6=bracketed)
