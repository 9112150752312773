"""Blobs that must not be evicted just now.

Rules:
1. A held digest is no victim until every holder has let go.
2. After an adoption the hold lingers for `LINGER_S`: the flight's followers are about to open it.

Units: seconds, monotonic.
Does not: survive a restart (no flight does), or replace pins, which live in the index.
Runs in: keeper; callers hold the store's lock.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator

from mirror.clock import Clock

LINGER_S = 10.0  # a worker opens an announced blob within one loop turn; this covers a stalled one


class Holds:
    """Counts of holders per digest."""

    def __init__(self, clock: Clock, lock: threading.RLock) -> None:
        self._clock = clock
        self._lock = lock
        self._holders: Counter[bytes] = Counter()
        self._until: dict[bytes, float] = {}

    @contextlib.contextmanager
    def holding(self, digests: Iterable[bytes]) -> Iterator[None]:
        held = list(digests)
        with self._lock:
            self._holders.update(held)
        try:
            yield
        finally:
            with self._lock:
                self._holders -= Counter(held)

    def linger(self, digest: bytes) -> None:
        now = self._clock.monotonic()
        self._until = {held: until for held, until in self._until.items() if until > now}
        self._until[digest] = now + LINGER_S

    def is_held(self, digest: bytes) -> bool:
        if digest in self._holders:
            return True
        until = self._until.get(digest)
        return until is not None and until > self._clock.monotonic()
