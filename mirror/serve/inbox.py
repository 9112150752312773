"""What a connection has received and not answered yet, cut into heads.

Rules:
1. A head ends with the first empty line; what follows is the next one. Whether the bytes before it
   are a request is the strict parser's to say.
2. One empty line before a head is dropped (RFC 9112 section 2.2); a second one is part of the head
   and makes it invalid.
3. A head without end is refused as soon as it is longer than the limit.

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

from typing import Final

from mirror.errors import RequestError

_END_OF_HEAD: Final = b"\r\n\r\n"


class Inbox:
    """Received bytes, taken from the front; a long pipeline is not copied for each head."""

    __slots__ = ("_at", "_received")

    def __init__(self) -> None:
        self._received = b""
        self._at = 0

    def __len__(self) -> int:
        return len(self._received) - self._at

    def __repr__(self) -> str:
        return f"<Inbox {len(self)} bytes>"

    def add(self, data: bytes) -> None:
        waiting = self.peek()
        self._received, self._at = (waiting + data if waiting else data), 0

    def peek(self) -> bytes:
        """Return everything that waits."""
        return self._received[self._at :] if self._at else self._received

    def drop(self, size_bytes: int) -> None:
        self._at += size_bytes

    def clear(self) -> None:
        self._received, self._at = b"", 0

    def next_head(self, limit_bytes: int) -> bytes | None:
        """Take the next head; None when it is not complete.

        Raises: RequestError 431 or 414 for one that is longer than `limit_bytes`.
        """
        received, at = self._received, self._at
        if received.startswith(b"\r\n", at):
            at += 2
        end = received.find(_END_OF_HEAD, at)
        size = (len(received) if end < 0 else end + len(_END_OF_HEAD)) - at
        if size > limit_bytes:
            if received.find(b"\r\n", at, at + limit_bytes) < 0:
                raise RequestError(414, "The request target is too long.")
            raise RequestError(431, "The request head is too large.")
        if end < 0:
            return None
        self._at = at + size
        return received[at : at + size]
