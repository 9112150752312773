"""Received bytes on their way to the partial: coalesced, one thread at a time, announced.

Rules:
1. Hashing and writing happen in one thread per fill, in turns of `COALESCE_BYTES` when upstream
   is fast; a slow upstream's bytes wait at most `LINGER_S`; the first bytes do not wait, nor do
   those of a range that somebody asked for.
2. At most `BUFFER_BYTES` wait; then the readers wait (back-pressure down to upstream).
3. Whatever happens, `settle` returns only when no thread touches the partial any more, but one
   that flushes it: the partial itself waits for that one.
4. Bytes may come in any order, from several transfers; what the prefix reaches joins it. What an
   earlier fill left, and what came ahead, is hashed in steps between the writes, so that nobody's
   bytes wait for a long hash.
5. The disk takes in what has landed while more comes (`flush`), in steps of `FLUSH_EVERY_BYTES` and
   one at a time: what is left for the sync before the publish is the last step.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from mirror.fill.desk import Piece, StoreDesk
from mirror.fill.ports import PartialFile

# A turn costs two hand-overs between threads and a message to each worker that has followers.
# Measured with sha256 and write: 64 KiB a turn halve the rate of 256 KiB, 1 MiB gains 20 to 40 %.
COALESCE_BYTES = 1048576
BUFFER_BYTES = 2097152  # twice that: upstream is read while a turn is written
JOIN_BELOW_BYTES = 65536  # a copy is cheaper than a write and a hash of its own up to about here
LINGER_S = 0.005
FLUSH_EVERY_BYTES = 8388608  # a power cut loses at most this and what a flush takes
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
        self._flush: asyncio.Future[None] | None = None
        self._flushed = partial.landed  # what was on its way to the disk when the last flush began
        self.is_note_due = False  # something was flushed that the record does not say
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
        is_noted, self.is_note_due = self.is_note_due, False
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
            self._start_flush()

    def _start_flush(self) -> None:
        landed = self._partial.landed
        if self._flush is not None or landed - self._flushed < FLUSH_EVERY_BYTES:
            return
        if not self._is_settling:
            self._flushed = landed
            self._flush = self._desk.flush(self._partial)
            self._flush.add_done_callback(self._was_flushed)

    def _was_flushed(self, flush: asyncio.Future[None]) -> None:
        self._flush = None
        if not flush.cancelled() and flush.exception() is None:
            self.is_note_due = True  # by the thread that writes: the record is its own
            self._start_flush()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _joined(pieces: list[Piece]) -> list[Piece]:
    """The same bytes in fewer pieces, as their places allow: the transfers in order of arrival."""
    runs: list[tuple[int, list[bytes]]] = []
    ending: dict[int, list[bytes]] = {}  # where a run ends -> its chunks
    for at, chunk in pieces:
        chunks = ending.pop(at, None)
        if chunks is None:
            chunks = []
            runs.append((at, chunks))
        chunks.append(chunk)
        ending[at + len(chunk)] = chunks
    return [piece for at, chunks in runs for piece in _pieces(at, chunks)]


def _pieces(at: int, chunks: list[bytes]) -> Iterator[Piece]:
    """Yield a run: what is long as it is, what is short between together."""
    short: list[bytes] = []
    for chunk in chunks:
        if len(chunk) < JOIN_BELOW_BYTES:
            short.append(chunk)
            continue
        if short:
            yield at, (joined := b"".join(short))
            at += len(joined)
            short = []
        yield at, chunk
        at += len(chunk)
    if short:
        yield at, short[0] if len(short) == 1 else b"".join(short)
