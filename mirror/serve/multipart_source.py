"""Several parts of a representation, as one source that the sender reads from end to end.

Rules:
1. Offsets are those of the message that `http.multipart` lays out; literals are never cold.
2. What is small is gathered up to `GATHER_BYTES`, so that 32 parts of ten bytes are one write and
   not 65; a longer stretch is passed on as the inner source's own window.
3. A gathered window ends before what is not in memory: that is asked for by the next read.

Units: bytes, half-open offsets.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
from typing import Final

from mirror.http.multipart import Multipart
from mirror.serve.sources import Source

GATHER_BYTES: Final = 16_384


class MultipartSource:
    """Presents `layout` over an inner source, which it owns."""

    __slots__ = ("_inner", "_layout")

    def __init__(self, layout: Multipart, inner: Source) -> None:
        self._layout = layout
        self._inner = inner

    def read(self, offset: int, size_bytes: int) -> memoryview | None:
        """See `sources.Source`."""
        window = self._piece(offset, size_bytes)
        gather_bytes = min(size_bytes, GATHER_BYTES)
        if window is None or not window or len(window) >= gather_bytes:
            return window
        gathered = bytearray(window)
        while len(gathered) < gather_bytes:
            at = offset + len(gathered)
            window = self._piece(at, gather_bytes - len(gathered))
            if not window:
                break
            gathered += window
        return memoryview(gathered)

    def warm(self, offset: int) -> asyncio.Future[None]:
        """See `sources.Source`."""
        place = self._layout.locate(offset)
        return self._inner.warm(0 if isinstance(place, bytes) else place.start)

    def close(self) -> None:
        """See `sources.Source`."""
        self._inner.close()

    def _piece(self, offset: int, size_bytes: int) -> memoryview | None:
        """As `read`, of one literal or stretch."""
        place = self._layout.locate(offset)
        if isinstance(place, bytes):
            return memoryview(place)[:size_bytes]
        return self._inner.read(place.start, min(size_bytes, place.end - place.start))


def present(layout: Multipart | None, inner: Source) -> Source:
    """Return the source of the message: `inner` itself when there is no layout."""
    return inner if layout is None else MultipartSource(layout, inner)
