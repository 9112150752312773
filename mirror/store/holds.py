"""Blobs that somebody works on: placed, hashed or named by one at a time, and not evicted.

Rules:
1. A digest has one holder; whoever comes next waits for it. So the steps of publishing that sync
   the disk need no lock that others need, and an attestation is never that of a replaced file.
2. A held digest is no victim.
3. After an adoption the hold lingers for `LINGER_S`: the flight's followers are about to open it.

Units: seconds, monotonic.
Does not: survive a restart (no flight does), or replace pins, which live in the index.
Runs in: keeper (any thread). A holder may take the store's lock; who has that lock never waits
here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

from mirror.clock import Clock

LINGER_S = 10.0  # a worker opens an announced blob within one loop turn; this covers a stalled one


class Holds:
    """The held digests of one store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._held: set[bytes] = set()
        self._until: dict[bytes, float] = {}

    @contextlib.contextmanager
    def holding(self, digests: Iterable[bytes]) -> Iterator[None]:
        """Hold all of them for the block; not to be nested."""
        wanted = set(digests)
        with self._changed:
            # All at once: two holders that took them one by one could wait for each other.
            self._changed.wait_for(lambda: self._held.isdisjoint(wanted))
            self._held |= wanted
        try:
            yield
        finally:
            with self._changed:
                self._held -= wanted
                self._changed.notify_all()

    def linger(self, digest: bytes) -> None:
        now = self._clock.monotonic()
        with self._changed:
            self._until = {held: until for held, until in self._until.items() if until > now}
            self._until[digest] = now + LINGER_S

    def is_held(self, digest: bytes) -> bool:
        with self._changed:
            until = self._until.get(digest)
            return digest in self._held or (until is not None and until > self._clock.monotonic())
