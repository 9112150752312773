"""Upstream names that lead back to this machine.

With DNS pointing `static.rust-lang.org` at the mirror, the mirror's own look-up of that name must
not. Found at start it is a sentence; found by the first miss it would be a storm of requests.

Rules:
1. A name that resolves to an address of this machine is a loop when the port is one we listen on,
   or when it is one of the names that DNS is meant to point here (a TLS terminator may stand on
   port 443). Any other service of this machine is a legitimate upstream.
2. `connect_to` and a proxy replace the look-up, so they end the question.
3. A name that does not resolve says nothing: the mirror must start without a network.

Runs in: keeper, on a thread (it waits for the resolver).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from mirror.config import Config, Upstream
from mirror.errors import ConfigError

_DEFAULT_PORTS = {"http": 80, "https": 443}


def find_loops(config: Config, own_ports: frozenset[int]) -> list[ConfigError]:
    """Return one error per upstream URL that leads back here."""
    return list(_loops(config.upstream, own_ports))


def _loops(upstream: Upstream, own_ports: frozenset[int]) -> Iterator[ConfigError]:
    if upstream.proxy:
        return
    public_names = _hosts_of(Upstream())
    for name in ("releases", "crates", "index"):
        section = getattr(upstream, name)
        for number, url in enumerate(section.urls):
            if section.connect_to and number == 0:
                continue
            parts = urlsplit(url)
            if parts.scheme == "s3":
                continue  # its answers are signed for or refused; a mirror is no S3 server
            host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
            if (port in own_ports or host in public_names) and _is_this_machine(host, port):
                yield ConfigError(
                    f"upstream.{name}.urls",
                    url,
                    "resolves to this machine, so the mirror would ask itself; "
                    f'set upstream.{name}.connect_to = "host:port" of the real one',
                )


def _hosts_of(upstream: Upstream) -> frozenset[str]:
    urls = (*upstream.releases.urls, *upstream.crates.urls, *upstream.index.urls)
    return frozenset(urlsplit(url).hostname or "" for url in urls)


def _is_this_machine(host: str, port: int) -> bool:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_is_own_address(family, address[0]) for family, _, _, _, address in found)


def _is_own_address(family: int, host: str | int) -> bool:
    """Say whether a socket can be bound to `host`: only this machine's own addresses allow it."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
