"""Which client an address belongs to, for everything that is limited per client.

Rules:
1. A client is an IPv4 address, or an IPv6 network of `[limits] ipv6_prefix` bits: one host has all
   of these.
2. The own machine, trusted proxies and the networks of `[limits] exempt` are no clients: behind
   them are many, or the operator's own.

Runs in: worker. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from mirror.serve.client_address import TrustedProxies, is_loopback

_IPV6_BITS: Final = 128
IPV6_PREFIX: Final = 64  # of an IPv6 address: the customer's own (RFC 6177)
MAX_NAMES: Final = 8192  # about 2 MB; a full table is emptied

_NOBODY: Final = TrustedProxies(())


class ClientNetworks:
    """Names clients; the names of addresses seen lately are remembered."""

    __slots__ = ("_exempt", "_host_bits", "_names", "_trusted")

    def __init__(
        self,
        trusted: TrustedProxies = _NOBODY,
        *,
        ipv6_prefix: int = IPV6_PREFIX,
        exempt: Iterable[str] = (),
    ) -> None:
        """Raises ValueError for what is no network (the configuration has checked it)."""
        self._trusted = trusted
        self._exempt = TrustedProxies(exempt)
        self._host_bits = _IPV6_BITS - ipv6_prefix
        self._names: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<ClientNetworks {len(self._names)} names>"

    def client_of(self, address: str) -> str:
        """What `address` is counted under; empty: it is not limited."""
        name = self._names.get(address)
        if name is None:
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            name = self._names[address] = self._name(address)
        return name

    def _name(self, address: str) -> str:
        if not address or is_loopback(address):
            return ""
        if self._trusted.trusts(address) or self._exempt.trusts(address):
            return ""
        return self._network_of(address) if ":" in address else address

    def _network_of(self, address: str) -> str:
        parsed = ipaddress.IPv6Address(address)
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        network = ipaddress.IPv6Address(int(parsed) >> self._host_bits << self._host_bits)
        return f"{network}/{_IPV6_BITS - self._host_bits}"
