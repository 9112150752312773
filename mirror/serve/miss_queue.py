"""How many misses of one worker wait for the keeper.

Rules:
1. A miss has a place from when it begins until the keeper's first answer, or until its client
   leaves; what it sends afterwards is bounded by the number of connections and streams.
2. Beyond the limit a miss has no place, and is answered at once: hits never wait for misses.

Runs in: worker. Pure.
"""

from __future__ import annotations


class MissQueue:
    """The places of one worker."""

    __slots__ = ("_limit", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def __repr__(self) -> str:
        return f"<MissQueue {self._waiting}/{self._limit}>"

    def enter(self) -> MissPlace | None:
        """Return a place; None when all are taken."""
        if self._waiting >= self._limit:
            return None
        self._waiting += 1
        return MissPlace(self)

    def leave(self) -> None:
        """See `MissPlace.release`."""
        self._waiting -= 1


class MissPlace:
    """One place."""

    __slots__ = ("_queue",)

    def __init__(self, queue: MissQueue) -> None:
        self._queue: MissQueue | None = queue

    def release(self) -> None:
        """Give the place back; idempotent."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.leave()
