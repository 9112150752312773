"""The quarantine with the lock, the clock and the events that its changes need.

Rules:
1. A good object of the same key clears what came for it: content that was stored, or a stored one
   that upstream confirmed later than the bad bytes came. Each clearing is an event.
2. While nothing lies there, storing costs one look into an empty map and takes no lock.

Units: Unix seconds.
Runs in: keeper (any thread).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable

from mirror.clock import Clock
from mirror.events import EventLog
from mirror.store.entry import Entry, Stored
from mirror.store.quarantine import Quarantine, QuarantineSummary, Reason

_SHOWN_KEYS = 16


class GuardedQuarantine:
    """What the store does with its quarantine."""

    def __init__(
        self, quarantine: Quarantine, *, lock: threading.RLock, clock: Clock, log: EventLog | None
    ) -> None:
        self._quarantine = quarantine
        self._lock = lock
        self._clock = clock
        self._log = log

    def stored(self, arrived: Iterable[Stored]) -> None:
        """Content of these entries has been verified and stored."""
        self._clear({found.entry.key: math.inf for found in arrived if _is_content(found.entry)})

    def confirmed(self, known: Iterable[Stored]) -> None:
        """These entries are stored with these times."""
        entries = [found.entry for found in known if _is_content(found.entry)]
        self._clear({entry.key: entry.confirmed_at for entry in entries})

    def take(self, path: str, reason: Reason) -> None:
        """Move the file at `path` away, or remove it when that cannot be."""
        with self._lock:
            self._quarantine.take(path, reason)

    def expire(self) -> int:
        """Remove what lies there too long; return how many."""
        with self._lock:
            expired = self._quarantine.expire(self._clock.now())
        if expired and self._log is not None:
            self._log.info("quarantine-expired", count=expired)
        return expired

    def count_expired(self) -> int:
        """Return how many `expire` would remove."""
        with self._lock:
            return self._quarantine.count_expired(self._clock.now())

    def summary(self) -> QuarantineSummary:
        """Return what operators see; waits for nobody."""
        return self._quarantine.summary()

    def _clear(self, good_since: dict[str, float]) -> None:
        """Clear by key what came before its good object did."""
        concerned = [key for key in good_since if self._quarantine.concerns(key)]
        if not concerned:
            return
        with self._lock:
            cleared = {
                key: found
                for key in concerned
                if (found := self._quarantine.clear([key], good_since[key]))
            }
        for key, reasons in cleared.items():
            self._tell(key, reasons)

    def _tell(self, key: str, reasons: list[Reason]) -> None:
        if self._log is not None:
            got = [reason.got for reason in reasons][:_SHOWN_KEYS]
            self._log.info("quarantine-cleared", key=key, count=len(reasons), got=got)

    def __repr__(self) -> str:
        return f"<GuardedQuarantine {len(self._quarantine)} records>"


def _is_content(entry: Entry) -> bool:
    return entry.status == 200
