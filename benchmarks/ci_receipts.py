"""What clients were sent, by their own account: a receipt per request, and the kernel's counts.

Rules:
1. A receipt is written for every request whose head went out, whatever came back.
2. `received_bytes` of a socket are the kernel's (TCP_INFO), read before the client closes it.
3. On HTTP/2 the bytes of a head are not counted: what a field block weighs depends on those before.

Units: bytes as received, content after framing and TLS are taken off.
Runs in: benchmarks, tests.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_RECEIVED_AT = 128  # tcpi_bytes_received in the kernel's struct tcp_info
_TCP_INFO_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """`status` 0: no head came. `is_complete`: the framing says that nothing is missing.

    `at` is when the request was written (Unix time), `group` numbers the group of the runner that
    asked, `protocol` is "HTTP/1.1" or "HTTP/2".
    `is_abandoned`: the client closed before the end.
    """

    at: float
    group: int
    protocol: str
    is_secured: bool
    method: str
    target: str
    status: int
    head_bytes: int
    content_bytes: int
    is_complete: bool
    is_abandoned: bool = False
    entity_tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketCount:
    """One plaintext connection that spoke HTTP/1.1 from its beginning to its end."""

    group: int
    received_bytes: int


@dataclass(slots=True)
class Receipts:
    """Filled by many threads."""

    answers: list[Receipt] = field(default_factory=list)
    sockets: list[SocketCount] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, receipt: Receipt) -> None:
        with self._lock:
            self.answers.append(receipt)

    def closed(self, count: SocketCount) -> None:
        with self._lock:
            self.sockets.append(count)

    def gave_up(self, what: str) -> None:
        with self._lock:
            self.given_up.append(what)

    def sum_of(
        self, figure: Callable[[Receipt], int], where: Callable[[Receipt], bool] = lambda _: True
    ) -> int:
        """Return the sum over the receipts of answers (those with a head)."""
        return sum(figure(each) for each in self.answers if each.status and where(each))

    def requests(self, where: Callable[[Receipt], bool] = lambda _: True) -> int:
        return self.sum_of(lambda _: 1, where)

    def content_bytes(self, where: Callable[[Receipt], bool] = lambda _: True) -> int:
        return self.sum_of(lambda each: each.content_bytes, where)

    def received_bytes(self, groups: Iterable[int]) -> int:
        """Return what the kernel received on the plaintext HTTP/1.1 sockets of these groups."""
        wanted = frozenset(groups)
        return sum(each.received_bytes for each in self.sockets if each.group in wanted)


def received_bytes_of(connected: socket.socket) -> int:
    """Return the bytes that the kernel has received on a TCP connection, read by nobody or not."""
    found = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    if len(found) < _RECEIVED_AT + 8:
        raise OSError("this kernel does not count received bytes (Linux 4.1 does)")
    received: int = struct.unpack_from("=Q", found, _RECEIVED_AT)[0]
    return received
