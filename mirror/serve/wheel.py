"""Time for the connections of one worker: one tick for all of them.

Rules:
1. No connection has a timer: it stamps `deadline_at`, and a sweep once a second finds the passed
   ones (measured: a stamp costs 0.014 us, call_later and cancel 0.86 us).
2. `second` is the Unix second at the last tick; responses are rendered for it, so Date is at most
   one tick behind.
3. A deadline is exact to the sweep: up to one second late, never early.

Units: deadlines in seconds of the monotonic clock.
Runs in: worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from mirror.clock import Clock
from mirror.config import Serve
from mirror.serve.pace import Pace

NEVER: Final = math.inf
SWEEP_S: Final = 1.0


class Timed(Protocol):
    """What has a deadline."""

    deadline_at: float

    def expire(self) -> None: ...


class Wheel:
    """Clock values of the last tick, the deadlines that follow from them, and the sweep."""

    __slots__ = (
        "_serve",
        "_swept_at",
        "_timed",
        "clock",
        "head_deadline_at",
        "idle_deadline_at",
        "monotonic_s",
        "now",
        "on_empty",
        "second",
        "write_deadline_at",
    )

    def __init__(self, clock: Clock, serve: Serve) -> None:
        self.clock = clock  # for what has to be exact
        self._serve = serve
        self._timed: set[Timed] = set()
        self._swept_at = -math.inf
        self.on_empty: Callable[[], None] = _nothing
        self.tick()

    def __len__(self) -> int:
        return len(self._timed)

    def tick(self) -> None:
        """Read the clocks; once a second, expire what is overdue."""
        self.now = self.clock.now()
        self.second = int(self.now)
        monotonic_s = self.monotonic_s = self.clock.monotonic()
        self.head_deadline_at = monotonic_s + self._serve.head_timeout
        self.idle_deadline_at = monotonic_s + self._serve.idle_timeout
        self.write_deadline_at = monotonic_s + self._serve.write_timeout
        if monotonic_s - self._swept_at >= SWEEP_S:
            self._swept_at = monotonic_s
            self._sweep()

    @property
    def monotonic_ms(self) -> int:
        return int(self.monotonic_s * 1000)

    def pace(self, taken_bytes: int) -> Pace:
        """Return the count of a client that has taken so many bytes and is waited for."""
        interval_s = self._serve.write_timeout
        return Pace(interval_s, int(self._serve.min_rate * interval_s), taken_bytes)

    def add(self, timed: Timed) -> None:
        self._timed.add(timed)

    def discard(self, timed: Timed) -> None:
        self._timed.discard(timed)
        if not self._timed:
            self.on_empty()

    def members(self) -> list[Timed]:
        """A copy: closing a connection removes it."""
        return list(self._timed)

    def _sweep(self) -> None:
        for timed in [timed for timed in self._timed if timed.deadline_at <= self.monotonic_s]:
            timed.expire()


def _nothing() -> None:
    """Nobody waits for the last one to go."""
