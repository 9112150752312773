"""Whether the disk takes what is to be stored: one alarm when it stops, one all-clear.

Rules:
1. The first error of the disk's own begins a trouble: one event, however many bodies meet it. It
   ends when a probe has gone through all that storing needs; only then is anything stored again.
2. The probe rests between its tries, twice as long each time. A trouble that comes back soon after
   its end goes on with the rest that it had reached, so that a disk which fails now and then does
   not raise an alarm a second.
3. What an object lacks that others need not lack (no room in the budget, too large) is no trouble.

Units: seconds, monotonic.
Does not: touch the disk, or sleep (`fill.recovering` does).
Runs in: keeper (any thread).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mirror.clock import Clock
from mirror.errors import DiskTrouble, StoreError
from mirror.events import EventLog

FIRST_REST_S: Final = 0.25
LONGEST_REST_S: Final = 30.0  # a person who has made room does not wait longer
# Quiet for so long after its end, a trouble is over; sooner it has come back.
SETTLED_S: Final = 300.0

_HINTS: Final = {
    DiskTrouble.FULL: "free space on the disk that holds the store, or lower [store] budget",
    DiskTrouble.FAILING: "look at the disk that holds the store: kernel messages, smartctl",
    DiskTrouble.READ_ONLY: "mount the store's file system writable, and let the mirror's user write"
    " there; a file system that became read-only by itself has met errors: see the kernel messages",
    DiskTrouble.OPEN_FILES: "raise the limit of open files (LimitNOFILE= of systemd)",
    DiskTrouble.MISSING: "put the store's directory back, or mount its file system, and restart",
    DiskTrouble.FLOOR: "free space on the disk that holds the store, or lower [store] free_floor",
    DiskTrouble.INODES: "remove files from the disk that holds the store, or lower"
    " [store] free_inodes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailment:
    """A trouble as it is told; `began_at` in Unix seconds."""

    kind: DiskTrouble
    reason: str
    hint: str
    began_at: float


class StoreTrouble:
    """The trouble of one store, or none. `on_begun` is called, in any thread, when one begins."""

    def __init__(self, clock: Clock, log: EventLog | None) -> None:
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._ailment: Ailment | None = None
        self._began_at_s = 0.0
        self._ended_at_s = -SETTLED_S
        self._rest_s = FIRST_REST_S
        self.on_begun: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<StoreTrouble {'none' if self._ailment is None else self._ailment.kind.value}>"

    @property
    def ailment(self) -> Ailment | None:
        """What is wrong; None: the store takes what comes."""
        return self._ailment

    @property
    def is_storing(self) -> bool:
        return self._ailment is None

    def met(self, error: StoreError) -> None:
        """Somebody's write failed."""
        if error.trouble is None or not self.is_storing:
            return
        with self._lock:
            if self._ailment is not None:  # another thread was quicker
                return
            now_s = self._clock.monotonic()
            if now_s - self._ended_at_s >= SETTLED_S:
                self._rest_s = FIRST_REST_S
            self._began_at_s = now_s
            ailment = self._ailment = Ailment(
                kind=error.trouble,
                reason=error.message,
                hint=error.hint or _HINTS[error.trouble],
                began_at=self._clock.now(),
            )
        if self._log is not None:
            self._log.error(
                "store-trouble", kind=ailment.kind.value, reason=ailment.reason, hint=ailment.hint
            )
        if self.on_begun is not None:
            self.on_begun()

    def next_rest_s(self) -> float:
        """Return how long the probe rests before its next try."""
        with self._lock:
            rest_s = self._rest_s
            self._rest_s = min(LONGEST_REST_S, 2 * rest_s)
            return rest_s

    def over(self) -> None:
        """The probe went through."""
        with self._lock:
            ailment, self._ailment = self._ailment, None
            self._ended_at_s = self._clock.monotonic()
        if ailment is not None and self._log is not None:
            self._log.info(
                "store-recovered",
                kind=ailment.kind.value,
                after_s=round(self._ended_at_s - self._began_at_s, 3),
            )
