"""What a connection has received and not answered yet, cut into heads.

Rules:
1. A head ends with the first empty line; what follows is the next one. Whether the bytes before it
   are a request is the strict parser's to say.
2. One empty line before a head is dropped (RFC 9112 section 2.2); a second one is part of the head
   and makes it invalid.
3. A head without end is refused as soon as it is longer than the limit, and before that as soon as
   nothing that follows could make it a request: a line that ends otherwise than with CRLF (RFC 9112
   section 2.2 lets a server take a bare LF; whoever stands in front may disagree about where that
   head ends), or a first line that is no request line. What is complete is the parser's.

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from mirror.errors import RequestError
from mirror.serve.head_parser import REQUEST_LINE

_END_OF_HEAD: Final = b"\r\n\r\n"
# The last byte may be the CR of a CRLF that is still coming.
_BARE_END: Final = re.compile(rb"\r(?!\n|\Z)|(?<!\r)\n")
# A method, or a part of one; or the CR of an empty line. A TLS hello, or silence, is neither.
_BEGINNING: Final = re.compile(rb"\r?\Z|[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?:[ \r]|\Z)")


class Inbox:
    """Received bytes, taken from the front; a long pipeline is not copied for each head."""

    __slots__ = ("_at", "_received", "_seen_bytes")

    def __init__(self) -> None:
        self._received = b""
        self._at = 0
        self._seen_bytes = 0  # of the incomplete head: looked at, and without a bare end

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
        self._seen_bytes = 0

    def clear(self) -> None:
        self._received, self._at, self._seen_bytes = b"", 0, 0

    def next_head(self, limit_bytes: int) -> bytes | None:
        """Take the next head; None when it is not complete.

        Raises: RequestError 431 or 414 for one that is longer than `limit_bytes`, 400 for one that
        cannot become a request.
        """
        received, at = self._received, self._at
        if received.startswith(b"\r\n", at):
            at += 2
        end = received.find(_END_OF_HEAD, at)
        size = (len(received) if end < 0 else end + len(_END_OF_HEAD)) - at
        if size > limit_bytes:
            if received.find(b"\r\n", at, at + limit_bytes) < 0:
                if not _BEGINNING.match(received, at):
                    raise RequestError(400, "The request line is not valid.")
                raise RequestError(414, "The request target is too long.")
            raise RequestError(431, "The request head is too large.")
        if end < 0:
            self._look_ahead(at)
            return None
        self._at = at + size
        self._seen_bytes = 0
        return received[at : at + size]

    def _look_ahead(self, at: int) -> None:
        """See rule 3. Each byte is searched once, however slowly they come."""
        received, seen_at = self._received, self._at + self._seen_bytes
        if _BARE_END.search(received, seen_at):
            raise RequestError(400, "A line of the request head does not end with CRLF.")
        line_end = received.find(b"\r\n", at)
        if line_end < 0:
            is_possible = _BEGINNING.match(received, at) is not None
        else:
            was_complete = line_end + 1 < seen_at
            is_possible = was_complete or bool(REQUEST_LINE.fullmatch(received, at, line_end))
        if not is_possible:
            raise RequestError(400, "The request line is not valid.")
        # The last byte again: what it is depends on the next one.
        self._seen_bytes = max(0, len(self) - 1)
