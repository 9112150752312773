"""Received bytes on their way to the partial: coalesced, one thread at a time, announced.

Rules:
1. Hashing and writing happen in one thread per fill, in pieces of `COALESCE_BYTES` when upstream
   is fast; a slow upstream's bytes wait at most `LINGER_S`; the first bytes do not wait, nor do
   those of a range that somebody asked for.
2. At most `BUFFER_BYTES` wait; then the readers wait (back-pressure down to upstream).
3. Whatever happens, `settle` returns only when no thread touches the partial any more.
4. Bytes may come in any order, from several transfers; what the prefix reaches joins it. What an
   earlier fill left, and what came ahead, is hashed in steps between the writes, so that nobody's
   bytes wait for a long hash.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mirror.fill.desk import Piece, StoreDesk
from mirror.fill.ports import PartialFile

COALESCE_BYTES = 262144  # measured: 64 KiB pieces to a thread halve the fill rate
BUFFER_BYTES = 1048576
LINGER_S = 0.005
NOTE_EVERY_BYTES = 33554432  # a crash loses at most this much of what was written
ABSORB_BYTES = 8388608  # read back and hashed in about 10 ms


class Landing:
    """Owns the writes to one partial; `on_landed` is called on the loop after each."""

    def __init__(
        self, desk: StoreDesk, partial: PartialFile, on_landed: Callable[[], None]
    ) -> None:
        self._desk = desk
        self._partial = partial
        self._on_landed = on_landed
        self._waiting: list[Piece] = []
        self._waiting_bytes = 0
        self._has_more = partial.landed > 0  # there are bytes of the prefix that are not hashed
        self._write: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = True
        self._is_settling = False
        self._error: BaseException | None = None
        self._noted = partial.landed
        self._next: set[int] = set()  # where each transfer's next bytes belong

    def __repr__(self) -> str:
        return f"<Landing {self._waiting_bytes} bytes wait, {self._partial.landed} landed>"

    async def take(self, at: int, chunk: bytes) -> None:
        """Accept the bytes that belong at `at`; waits while too many wait to be written.

        Raises: what the store raised.
        """
        if at not in self._next:
            self._is_due = True  # the first ones of a transfer
        self._next.discard(at)
        self._next.add(at + len(chunk))
        self._waiting.append((at, chunk))
        self._waiting_bytes += len(chunk)
        self._start()
        while self._waiting_bytes > BUFFER_BYTES and self._write is not None:
            await asyncio.wait([self._write])
        self._raise_error()

    async def drain(self) -> None:
        """Write everything that was taken."""
        while self._waiting or self._has_more or self._write is not None:
            self._is_due = True
            self._start()
            if self._write is not None:
                await asyncio.wait([self._write])
            self._raise_error()

    async def settle(self) -> None:
        """Drop what waits; return when the running write has ended."""
        self._is_settling = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._stop_timer()
        while self._write is not None:
            try:
                await asyncio.wait([self._write])
            except asyncio.CancelledError:
                continue  # the thread does not stop sooner; the caller is being cancelled anyway

    def _start(self) -> None:
        if self._write is not None or self._error is not None or self._is_settling:
            return
        if not self._has_more:
            if not self._waiting:
                return
            if not self._is_due and self._waiting_bytes < COALESCE_BYTES:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._due)
                return
        self._stop_timer()
        pieces = _joined(self._waiting)
        self._waiting = []
        self._waiting_bytes = 0
        self._is_due = False
        is_noted = self._partial.landed - self._noted >= NOTE_EVERY_BYTES
        if is_noted:
            self._noted = self._partial.landed
        self._write = self._desk.land(self._partial, pieces, ABSORB_BYTES, is_noted=is_noted)
        self._write.add_done_callback(self._written)

    def _due(self) -> None:
        self._timer = None
        self._is_due = True
        self._start()

    def _written(self, write: asyncio.Future[bool]) -> None:
        self._write = None
        if write.cancelled():
            return
        self._error = write.exception()
        if self._error is None:
            self._has_more = write.result()
            self._on_landed()
            self._start()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _joined(pieces: list[Piece]) -> list[Piece]:
    """The same bytes in as few pieces as their places allow, in order of arrival."""
    runs: list[tuple[int, list[bytes]]] = []
    ending: dict[int, list[bytes]] = {}  # where a run ends -> its chunks
    for at, chunk in pieces:
        chunks = ending.pop(at, None)
        if chunks is None:
            chunks = []
            runs.append((at, chunks))
        chunks.append(chunk)
        ending[at + len(chunk)] = chunks
    return [(at, chunks[0] if len(chunks) == 1 else b"".join(chunks)) for at, chunks in runs]
