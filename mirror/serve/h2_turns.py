"""Which stream of a connection sends next: those that have something take turns, round robin.

Rules:
1. A stream is in the queue once; what it takes of a turn is bounded by the stream itself
   (`h2_stream.TURN_BYTES`), so a large response delays a small one by one turn of each stream.
2. The priorities of RFC 9113 section 5.3.2 are deprecated and are not read.

Runs in: worker. Pure.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Taker(Protocol):
    """Who takes turns."""

    def take_turn(self) -> int:
        """Send a bounded part of what there is; return its bytes."""


class Turns:
    """The queue of one connection."""

    __slots__ = ("_queue", "_queued")

    def __init__(self) -> None:
        self._queue: deque[Taker] = deque()
        self._queued: set[Taker] = set()

    def __len__(self) -> int:
        return len(self._queue)

    def __repr__(self) -> str:
        return f"<Turns {len(self._queue)} waiting>"

    def queue(self, taker: Taker) -> None:
        """Give `taker` a turn after all that wait; harmless when it waits already."""
        if taker not in self._queued:
            self._queued.add(taker)
            self._queue.append(taker)

    def next(self) -> Taker | None:
        """Take the next one out of the queue; None when nobody waits."""
        if not self._queue:
            return None
        taker = self._queue.popleft()
        self._queued.discard(taker)
        return taker
