"""How many connections each client has with this worker.

Rules:
1. A client is an IPv4 address, or an IPv6 network of 64 bits: one host has all of these.
2. Trusted proxies and the own machine are not counted: behind them are many clients.
3. Who is counted is counted once more for each connection, and until it is gone.

Does not: refuse; or know what other workers have.
Runs in: worker. Pure.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from mirror.serve.client_address import TrustedProxies, is_loopback

_HOST_BITS: Final = 64  # of an IPv6 address: the customer's own (RFC 6177)


class ClientCounts:
    """Counts by client; `limit` 0: nobody is counted."""

    __slots__ = ("_counts", "_limit", "_trusted")

    def __init__(self, limit: int, trusted: TrustedProxies) -> None:
        self._limit = limit
        self._trusted = trusted
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __repr__(self) -> str:
        return f"<ClientCounts {len(self)} clients>"

    def client_of(self, address: str) -> str:
        """What `address` is counted under; empty: it is not."""
        if not self._limit or not address:
            return ""
        if is_loopback(address) or self._trusted.trusts(address):
            return ""
        return _network_of(address) if ":" in address else address

    def add(self, client: str) -> bool:
        """Count one more connection; False when it is one too many (it is counted all the same)."""
        count = self._counts[client] = self._counts.get(client, 0) + 1
        return count <= self._limit

    def discard(self, client: str) -> None:
        """One of its connections is gone."""
        left = self._counts[client] - 1
        if left:
            self._counts[client] = left
        else:
            del self._counts[client]


def _network_of(address: str) -> str:
    parsed = ipaddress.IPv6Address(address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(parsed) >> _HOST_BITS << _HOST_BITS)}/{_HOST_BITS}"
