"""A body that the disk cannot take: from upstream to one reader, hashed, its end withheld.

Rules:
1. The newest `WITHHELD_BYTES` stay back until the digest of the whole agrees.
2. At most `BUFFER_BYTES` wait for the reader; then upstream waits (back-pressure).
3. One reader: the first that claims. When it closes, the transfer ends.

Units: bytes. Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections import deque

from mirror.errors import MirrorError, StoreError
from mirror.fill.growing import WITHHELD_BYTES

BUFFER_BYTES = 262144


class RelayClosedError(StoreError):
    """The reader has gone; nobody wants the rest."""

    def __init__(self, source: str) -> None:
        super().__init__(source, "nobody reads this body any more")


class Relay:
    """Between a flight (`put`, `finish`, `fail`) and a stream (`claim`, `read`, `close`)."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0
        self._is_claimed = False
        self._is_finished = False
        self._is_closed = False
        self._error: MirrorError | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self.claimed = asyncio.Event()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "claimed" if self._is_claimed else "waiting"
        return f"<Relay {self._source} {state}, {self._held_bytes} bytes held>"

    def claim(self) -> bool:
        """Take the reader's place. False: it is taken."""
        if self._is_claimed or self._is_closed:
            return False
        self._is_claimed = True
        self.claimed.set()
        return True

    async def read(self) -> bytes:
        """Return what may be sent next; b"": complete and verified. Raises MirrorError."""
        while True:
            if self._error is not None:
                raise self._error
            piece = self._take()
            if piece or self._is_finished:
                return piece
            self._readable.clear()
            await self._readable.wait()

    def close(self) -> None:
        """The reader is gone. Safe to call at any time, more than once."""
        self._is_closed = True
        self._writable.set()

    async def put(self, chunk: bytes) -> None:
        """Hand over received bytes; waits for the reader. Raises RelayClosedError."""
        self._pieces.append(chunk)
        self._held_bytes += len(chunk)
        self._readable.set()
        while not self._is_closed and self._held_bytes > WITHHELD_BYTES + BUFFER_BYTES:
            self._writable.clear()
            await self._writable.wait()
        if self._is_closed:
            raise RelayClosedError(self._source)

    def finish(self) -> None:
        """The digest agrees: the rest may go."""
        self._is_finished = True
        self._readable.set()

    def fail(self, error: MirrorError) -> None:
        """The body must never become a complete response. No effect after `finish`."""
        if not self._is_finished and self._error is None:
            self._error = error
        self._readable.set()

    async def emptied(self) -> None:
        """Wait until the reader has everything, or is gone."""
        while self._pieces and not self._is_closed:
            self._writable.clear()
            await self._writable.wait()

    def _take(self) -> bytes:
        """Remove and return what may go; b"" when nothing may."""
        spare = self._held_bytes if self._is_finished else self._held_bytes - WITHHELD_BYTES
        if spare <= 0 or not self._pieces:
            return b""
        piece = self._pieces.popleft()
        if len(piece) > spare:
            self._pieces.appendleft(piece[spare:])
            piece = piece[:spare]
        self._held_bytes -= len(piece)
        self._writable.set()
        return piece
