"""Where a simulated client connects, and from which address.

Rules:
1. On loopback every runner has an address of its own in 127.0.0.0/8, as machines of their own have:
   the mirror keeps the files of a channel together per address.
2. TLS is verified with the system's authorities (`SSL_CERT_FILE` adds a private one).

Units: seconds. Runs in: benchmark, both environments.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT_S = 60.0  # longer than the mirror keeps a client waiting for a slow upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One mirror as one runner reaches it; `source` "": the kernel's choice of address."""

    host: str
    port: int
    is_secured: bool = False
    source: str = ""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secured else 80) else f"{host}:{self.port}"

    def connect(self, protocol: str = "http/1.1", *, receive_bytes: int = 0) -> socket.socket:
        """Raises: OSError when there is no connection, or no TLS with `protocol` on it."""
        source = (self.source, 0) if self.source else None
        plain = socket.create_connection((self.host, self.port), TIMEOUT_S, source)
        try:
            if receive_bytes:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._secured(plain, protocol) if self.is_secured else plain
        except BaseException:
            plain.close()
            raise

    def _secured(self, plain: socket.socket, protocol: str) -> socket.socket:
        secured = _context(protocol).wrap_socket(plain, server_hostname=self.host)
        if protocol == "h2" and secured.selected_alpn_protocol() != "h2":
            secured.close()
            raise ConnectionError("the mirror does not offer HTTP/2 over TLS")
        return secured


@functools.cache
def _context(protocol: str) -> ssl.SSLContext:
    """Made once: reading the system's authorities takes longer than a handshake."""
    context = ssl.create_default_context()
    context.set_alpn_protocols([protocol])
    return context


def door_of(url: str) -> Door:
    """Return the door of `http://host[:port]` or `https://…`. Raises ValueError for other URLs."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not a mirror's URL: write http://HOST:PORT or https://HOST")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{url!r} has more than a host and a port: write http://HOST:PORT")
    is_secured = parts.scheme == "https"
    return Door(
        host=parts.hostname,
        port=parts.port or (443 if is_secured else 80),
        is_secured=is_secured,
    )


def source_address(door: Door, runner: int) -> str:
    """Return the address of the runner with this number; "" where the mirror is not on loopback."""
    try:
        is_loopback = ipaddress.ip_address(door.host) in ipaddress.ip_network("127.0.0.0/8")
    except ValueError:
        return ""
    # 127.32.0.1 …: away from 127.0.0.1, which other programs use.
    return str(ipaddress.ip_address("127.32.0.1") + runner) if is_loopback else ""
