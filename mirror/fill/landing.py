"""Received bytes on their way to the partial: coalesced, one thread at a time, announced.

Rules:
1. Hashing and writing happen in one thread per fill, in pieces of `COALESCE_BYTES` when upstream
   is fast; a slow upstream's bytes wait at most `LINGER_S`; the first bytes do not wait.
2. At most `BUFFER_BYTES` wait; then the reader waits (back-pressure down to upstream).
3. Whatever happens, `settle` returns only when no thread touches the partial any more.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mirror.fill.desk import StoreDesk
from mirror.fill.ports import PartialFile

COALESCE_BYTES = 262144  # measured: 64 KiB pieces to a thread halve the fill rate
BUFFER_BYTES = 1048576
LINGER_S = 0.005
NOTE_EVERY_BYTES = 33554432  # a crash loses at most this much of what was written


class Landing:
    """Owns the writes to one partial; `on_landed` is called on the loop after each."""

    def __init__(
        self, desk: StoreDesk, partial: PartialFile, on_landed: Callable[[int], None]
    ) -> None:
        self._desk = desk
        self._partial = partial
        self._on_landed = on_landed
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._write: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = True
        self._error: BaseException | None = None
        self._noted = partial.landed

    async def take(self, chunk: bytes) -> None:
        """Accept bytes; waits while too many wait to be written. Raises what the store raised."""
        self._waiting.append(chunk)
        self._waiting_bytes += len(chunk)
        self._start()
        while self._waiting_bytes > BUFFER_BYTES and self._write is not None:
            await asyncio.wait([self._write])
        self._raise_error()

    async def drain(self) -> None:
        """Write everything that was taken."""
        while self._waiting or self._write is not None:
            self._is_due = True
            self._start()
            if self._write is not None:
                await asyncio.wait([self._write])
            self._raise_error()

    async def settle(self) -> None:
        """Drop what waits; return when the running write has ended."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self._stop_timer()
        while self._write is not None:
            try:
                await asyncio.wait([self._write])
            except asyncio.CancelledError:
                continue  # the thread does not stop sooner; the caller is being cancelled anyway

    def _start(self) -> None:
        if self._write is not None or not self._waiting or self._error is not None:
            return
        if not self._is_due and self._waiting_bytes < COALESCE_BYTES:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._due)
            return
        self._stop_timer()
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting = []
        self._waiting_bytes = 0
        self._is_due = False
        is_noted = self._partial.landed - self._noted >= NOTE_EVERY_BYTES
        if is_noted:
            self._noted = self._partial.landed
        self._write = self._desk.write(self._partial, data, is_noted=is_noted)
        self._write.add_done_callback(self._written)

    def _due(self) -> None:
        self._timer = None
        self._is_due = True
        self._start()

    def _written(self, write: asyncio.Future[None]) -> None:
        self._write = None
        if write.cancelled():
            return
        self._error = write.exception()
        if self._error is None:
            self._on_landed(self._partial.landed)
            self._start()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
