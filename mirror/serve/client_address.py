"""Who the client is: one address, from the socket, the PROXY header, or X-Forwarded-For.

Rules:
1. Only what a trusted proxy says counts; anybody else's X-Forwarded-For is ignored.
2. X-Forwarded-For is read from the right: the first address that no trusted proxy has is the
   client's (what stands left of it was written by that client).
3. An element that is no address ends the reading: the nearest known address is the answer.

Runs in: worker. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

_SCHEMES: Final = {b"http": "http", b"https": "https"}

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """The networks of `[serve] trusted_proxies`."""

    __slots__ = ("_networks",)

    def __init__(self, cidrs: Iterable[str]) -> None:
        """Raises ValueError for what is no network (the configuration has checked it)."""
        self._networks: tuple[_Network, ...] = tuple(
            ipaddress.ip_network(cidr, strict=False) for cidr in cidrs
        )

    def trusts(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(
            parsed.version == network.version and parsed in network for network in self._networks
        )


def client_address(peer: str, forwarded_for: bytes | None, trusted: TrustedProxies) -> str:
    """Return the client's address; `peer` is the socket's or the PROXY header's."""
    if forwarded_for is None or not trusted.trusts(peer):
        return peer
    nearest = peer
    for element in reversed(forwarded_for.decode("latin-1").split(",")):
        parsed = _parse(element.strip(" \t"))
        if parsed is None:
            return nearest
        nearest = str(parsed)
        if not trusted.trusts(nearest):
            return nearest
    return nearest


def client_scheme(scheme: str, forwarded_proto: bytes | None) -> str:
    """Return "http" or "https", as a trusted proxy says that its client came; `scheme`: as it came
    itself."""
    if forwarded_proto is None:
        return scheme
    # A chain of proxies appends; the nearest one, which is the trusted one, wrote the last.
    return _SCHEMES.get(forwarded_proto.split(b",")[-1].strip(b" \t").lower(), scheme)


def is_loopback(address: str) -> bool:
    """Whether `address` is reached from its own machine only; a name is not an address."""
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback


def _parse(text: str) -> _Address | None:
    """An address; a v4-mapped one is the IPv4 address that it means."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address
