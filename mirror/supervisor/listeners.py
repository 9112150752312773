"""The listening sockets: opened before any fork, kept as long as the supervisor lives.

A *lane* is one worker's set of listening sockets: one per address of `serve.listen` (plaintext) and
of `serve.tls_listen` (TLS).

Rules:
1. Each lane has its own SO_REUSEPORT sockets, so that the kernel spreads connections and a lane's
   accept queue outlives its worker.
2. A socket is never closed before the supervisor ends: closing resets what waits in its queue.
3. Inherited sockets (`LISTEN_FDS`, sd_listen_fds(3)) replace the configured addresses and belong
   to every lane. One whose name (`LISTEN_FDNAMES`) is "https" or begins with "tls" carries TLS.
4. A taken address is an error that names it. SO_REUSEPORT alone would let a second mirror of the
   same user share the port silently, so each address is first bound without it.

Does not: accept, or look at what arrives.
Runs in: supervisor; workers and the keeper inherit the descriptors.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from mirror.addresses import ListenAddress
from mirror.errors import ConfigError

BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
FIRST_INHERITED_FD = 3  # SD_LISTEN_FDS_START
_PLAIN_KEY = "serve.listen"
_TLS_KEY = "serve.tls_listen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """One listening socket, and whether connections to it begin with a TLS handshake."""

    sock: socket.socket
    is_tls: bool = False

    @property
    def name(self) -> str:
        name = self.sock.getsockname()
        if not isinstance(name, tuple):
            return f"unix:{name}"
        is_ipv6 = self.sock.family == socket.AF_INET6
        return str(ListenAddress(host=name[0], port=name[1], is_ipv6=is_ipv6))


class Listeners:
    """Opens the lanes on demand and keeps them."""

    def __init__(
        self,
        addresses: Sequence[ListenAddress],
        inherited: Sequence[Listening] = (),
        *,
        tls: Sequence[ListenAddress] = (),
        lanes: Mapping[int, Sequence[Listening]] | None = None,
    ) -> None:
        """Claim every address. Raises ConfigError for one that cannot be listened on.

        `lanes` are already open, for the same addresses: a former program's.
        """
        self._inherited = list(inherited)
        self._lanes = {lane: list(sockets) for lane, sockets in (lanes or {}).items()}
        self._addresses = [(address, False) for address in addresses]
        self._addresses += [(address, True) for address in tls]
        if not self._inherited:
            if not self._lanes:
                for address, is_tls in self._addresses:
                    _claim(address, _key(is_tls))
                self._lanes[0] = self._open()
            first = self._lanes[0]
            # Port 0 was the kernel's choice for the first lane; the others join it.
            self._addresses = [
                (_with_port(address, item.sock), is_tls)
                for (address, is_tls), item in zip(self._addresses, first, strict=True)
            ]

    @property
    def bound(self) -> list[str]:
        """The addresses of plaintext."""
        return [item.name for item in self.lane(0) if not item.is_tls]

    @property
    def bound_tls(self) -> list[str]:
        """The addresses of TLS."""
        return [item.name for item in self.lane(0) if item.is_tls]

    def lane(self, number: int) -> list[Listening]:
        """Return the sockets of lane `number`, opening them the first time."""
        if self._inherited:
            return self._inherited
        if number not in self._lanes:
            self._lanes[number] = self._open()
        return self._lanes[number]

    @property
    def inherited(self) -> list[Listening]:
        return list(self._inherited)

    @property
    def lanes(self) -> dict[int, list[Listening]]:
        """The lanes that were opened, by number."""
        return {number: list(sockets) for number, sockets in self._lanes.items()}

    @property
    def opened(self) -> int:
        """How many lanes exist, wanted or not."""
        return len(self._lanes) or 1

    def all_sockets(self) -> list[socket.socket]:
        lanes = [item for lane in self._lanes.values() for item in lane]
        return [item.sock for item in self._inherited + lanes]

    def close(self) -> None:
        for sock in self.all_sockets():
            sock.close()

    def _open(self) -> list[Listening]:
        return [
            Listening(sock=_listen(address, _key(is_tls)), is_tls=is_tls)
            for address, is_tls in self._addresses
        ]


def open_control(address: ListenAddress) -> socket.socket:
    """Return the control listener. Raises ConfigError when the address is taken."""
    _claim(address, "control.listen")
    return _listen(address, "control.listen")


def inherited_sockets(environ: MutableMapping[str, str]) -> list[Listening]:
    """Return the sockets that a service manager passed to this process, and forget the variables.

    They are only ours when `LISTEN_PID` names this process: the variables survive an exec chain.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    sockets = []
    for number in range(int(count)):
        fd = FIRST_INHERITED_FD + number
        try:
            sock = socket.socket(fileno=fd)
        except OSError as exc:
            raise ConfigError("LISTEN_FDS", count, f"descriptor {fd} is not a socket") from exc
        sock.setblocking(False)
        sock.set_inheritable(False)
        name = names[number] if number < len(names) else ""
        sockets.append(Listening(sock=sock, is_tls=_names_tls(name)))
    return sockets


def _names_tls(name: str) -> bool:
    return name.lower() == "https" or name.lower().startswith("tls")


def _key(is_tls: bool) -> str:
    return _TLS_KEY if is_tls else _PLAIN_KEY


def _claim(address: ListenAddress, key: str) -> None:
    """Bind without SO_REUSEPORT and let go: fails when anybody listens there (rule 4)."""
    with _bound(address, key, share=False):
        pass


def _listen(address: ListenAddress, key: str) -> socket.socket:
    sock = _bound(address, key, share=True)
    try:
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise _refused(address, key, exc) from exc
    sock.setblocking(False)
    return sock


def _bound(address: ListenAddress, key: str, *, share: bool) -> socket.socket:
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        raise _refused(address, key, exc) from exc
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.is_ipv6:
            # "0.0.0.0:8080" and "[::]:8080" then stand beside each other.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
    except OSError as exc:
        sock.close()
        raise _refused(address, key, exc) from exc
    return sock


def _refused(address: ListenAddress, key: str, exc: OSError) -> ConfigError:
    if exc.errno == errno.EADDRINUSE:
        return ConfigError(key, str(address), "the address is taken: another program listens there")
    if exc.errno == errno.EACCES:
        return ConfigError(key, str(address), "ports below 1024 need CAP_NET_BIND_SERVICE")
    if exc.errno == errno.EADDRNOTAVAIL:
        return ConfigError(key, str(address), "this machine does not have that address")
    return ConfigError(key, str(address), f"cannot listen there: {exc.strerror}")


def _with_port(address: ListenAddress, sock: socket.socket) -> ListenAddress:
    return ListenAddress(host=address.host, port=sock.getsockname()[1], is_ipv6=address.is_ipv6)
