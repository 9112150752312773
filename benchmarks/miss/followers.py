"""Clients that read one body at the same time and compare every byte of it.

Rules:
1. All connections stand before the first request is sent.
2. Bytes are compared with the content that upstream has (0.1 ms per MB; hashing in each client
   would cost 0.7 and measure the clients); one that differs, or an end too early, is an error.
3. Clients are read as they become readable, so that none waits for another.

Units: bytes, seconds of the monotonic clock. Runs in: benchmark.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable

_READ_BYTES = 256 << 10
_HEAD_MAX_BYTES = 64 << 10
DEADLINE_S = 120.0


class WrongBodyError(RuntimeError):
    """A client was given something else than upstream has."""


class Follower:
    """One connection; `received_bytes` are of the body, -1 while its head is incomplete."""

    __slots__ = ("_content", "_head", "received_bytes", "socket")

    def __init__(self, connection: socket.socket, content: bytes) -> None:
        self.socket = connection
        self.received_bytes = -1
        self._content = content
        self._head = b""

    def take(self, piece: memoryview) -> bool:
        """Compare `piece`; whether the body is whole. Raises WrongBodyError."""
        if self.received_bytes < 0:
            self._head += bytes(piece)
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                if len(self._head) > _HEAD_MAX_BYTES:
                    raise WrongBodyError("no end of the head")
                return False
            _require_length(head, len(self._content))
            self.received_bytes = 0
            piece = memoryview(body)
        # `startswith` compares with memcmp and copies nothing.
        if not self._content.startswith(piece, self.received_bytes):
            raise WrongBodyError(f"other bytes behind {self.received_bytes}")
        self.received_bytes += len(piece)
        return self.received_bytes == len(self._content)


def follow(
    port: int, target: str, count: int, content: bytes, *, on_began: Callable[[], None]
) -> float:
    """Let `count` clients ask for `target` and read all of `content`; the seconds it took.

    `on_began` is called when the requests have been sent. Raises WrongBodyError, RuntimeError.
    """
    followers = [
        Follower(socket.create_connection(("127.0.0.1", port)), content) for _ in range(count)
    ]
    request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    try:
        with selectors.DefaultSelector() as selector:
            for follower in followers:
                follower.socket.setblocking(False)
                selector.register(follower.socket, selectors.EVENT_READ, follower)
            began_at = time.monotonic()
            for follower in followers:
                follower.socket.sendall(request)
            on_began()
            _read_all(selector, count, began_at + DEADLINE_S)
            return time.monotonic() - began_at
    finally:
        for follower in followers:
            follower.socket.close()


def _read_all(selector: selectors.BaseSelector, waiting: int, until: float) -> None:
    buffer = memoryview(bytearray(_READ_BYTES))
    while waiting:
        if time.monotonic() > until:
            raise RuntimeError(f"{waiting} clients are not done after {DEADLINE_S:.0f} s")
        for key, _ in selector.select(1.0):
            follower: Follower = key.data
            got = follower.socket.recv_into(buffer)
            if not got:
                raise WrongBodyError(f"closed after {follower.received_bytes} bytes")
            if follower.take(buffer[:got]):
                selector.unregister(follower.socket)
                waiting -= 1


def _require_length(head: bytes, length: int) -> None:
    status, *lines = head.split(b"\r\n")
    if not status.startswith(b"HTTP/1.1 200 "):
        raise WrongBodyError(f"answered {status!r}")
    if not any(line.lower() == b"content-length: %d" % length for line in lines):
        raise WrongBodyError(f"the length is not {length}")
