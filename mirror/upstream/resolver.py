"""Where an upstream's name leads: to what DNS says, or to `connect_to`.

Rules:
1. `connect_to` replaces address and port of the connection only: the URL, the Host field and the
   name that TLS checks stay the upstream's.
2. Resolving has the deadline of connecting: libc's own takes tens of seconds.

Does not: cache (the connector does, for seconds), or look for loops (`mirror.loops`).
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult

from mirror.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`host` is a name or an address without brackets; `port` 1 to 65535."""

    host: str
    port: int


def parse_connect_to(text: str, key: str) -> Endpoint | None:
    """Return the endpoint of "host:port" or "[::1]:port"; None for "". Raises: ConfigError."""
    if not text:
        return None
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if is_bracketed else host
    if not bare or not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536:
        raise ConfigError(key, text, 'must be "host:port"')
    if (":" in bare) != is_bracketed:
        raise ConfigError(key, text, 'an IPv6 address must be written as "[::1]:443"')
    return Endpoint(host=bare, port=int(port))


class UpstreamResolver(AbstractResolver):
    """Resolves for one pool; `connect_to` applies to the names in `hosts` only.

    The egress proxy's name passes through here too, and must keep its own address.
    """

    def __init__(
        self, *, hosts: Iterable[str], connect_to: Endpoint | None, timeout_s: float
    ) -> None:
        self._hosts = frozenset(hosts)
        self._connect_to = connect_to
        self._timeout_s = timeout_s

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses. Raises: OSError (the connector's contract), also on time-out."""
        asked = Endpoint(host=host, port=port)
        if self._connect_to is not None and host in self._hosts:
            asked = self._connect_to
        addresses = await _addresses(asked, family=family, timeout_s=self._timeout_s)
        return [
            ResolveResult(
                hostname=host,
                host=address.host,
                port=address.port,
                family=socket.AF_INET6 if ":" in address.host else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def _addresses(
    asked: Endpoint, *, timeout_s: float, family: int = socket.AF_UNSPEC
) -> list[Endpoint]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(
                asked.host,
                asked.port,
                type=socket.SOCK_STREAM,
                family=family,
                # No AI_ADDRCONFIG: on a machine without a network it hides localhost.
            )
    except TimeoutError as exc:
        raise OSError(None, f"resolving {asked.host} took longer than {timeout_s:g} s") from exc
    return [Endpoint(host=str(address[0]), port=asked.port) for *_, address in found]
