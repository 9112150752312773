"""What the keeper counts beside upstream traffic, in the section "total" of its counters.

Rules:
1. Any thread may add: an increment of a cell is a read and a write, so a lock makes it one step.
2. An event of `VERIFICATION_EVENTS` is one verification failure. It is counted where it is told, so
   that no failure is told and not counted, or the other way round.
3. A flight failed when nobody could be answered from it: a stale copy in its place is no failure.

Runs in: keeper (any of its threads).
"""

from __future__ import annotations

import threading

from mirror.accounting.counters import Counters
from mirror.events import EventLog

# Bytes, signatures or dates that are not what their publisher says or said before. Withdrawals that
# follow from one, and what is merely old (`channel-frozen`), are not counted again.
VERIFICATION_EVENTS = frozenset(
    (
        "blob-condemned",
        "channel-ahead",
        "channel-refused",
        "channel-rollback",
        "content-refused",
        "crate-cksum-changed",
        "digest-mismatch",
        "proof-refused",
        "release-key-refused",
        "rustup-release-rollback",
        "signature-mismatch",
        "upstream-checksum-differs",
    )
)


class KeeperTotals:
    """Implements `StoreTally`, `FlightTally`, `ScrubTally` and `HealTally` of other rooms."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._lock = threading.Lock()

    def add(self, name: str, count: int = 1) -> None:
        """Add to a name of `layout.TOTALS`."""
        cell = self._counters.layout.row("total", name)
        with self._lock:
            self._counters.view[cell] += count

    def published(self, blobs: int, footprint_bytes: int) -> None:
        self.add("published_blobs", blobs)
        self.add("published_bytes", footprint_bytes)

    def evicted(self, blobs: int, footprint_bytes: int) -> None:
        self.add("evicted_blobs", blobs)
        self.add("evicted_bytes", footprint_bytes)

    def quarantined(self) -> None:
        self.add("quarantined")

    def scrubbed(self, blobs: int, size_bytes: int) -> None:
        self.add("scrubbed_blobs", blobs)
        self.add("scrubbed_bytes", size_bytes)

    def scrub_found(self, blobs: int) -> None:
        self.add("scrub_found", blobs)

    def healed(self) -> None:
        self.add("healed")

    def flight_ended(self, *, is_failed: bool) -> None:
        self.add("flights")
        if is_failed:
            self.add("flights_failed")

    def __repr__(self) -> str:
        return f"<KeeperTotals {self._counters!r}>"


class CountingEvents:
    """An event log that counts verification failures and tells everything on."""

    def __init__(self, events: EventLog, totals: KeeperTotals) -> None:
        self._events = events
        self._totals = totals

    def info(self, event: str, /, **fields: object) -> None:
        self._count(event)
        self._events.info(event, **fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._count(event)
        self._events.warning(event, **fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._count(event)
        self._events.error(event, **fields)

    def _count(self, event: str) -> None:
        if event in VERIFICATION_EVENTS:
            self._totals.add("verification_failures")
