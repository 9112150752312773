"""A circuit breaker: when a URL that keeps failing is left alone, and who tries it again.

    closed ── `failures` in a row ──> open ── its rest is over ──> half-open ── success ──> closed
                                       ^                             │
                                       └── the probe fails, the rest is doubled ──┘

Rules:
1. What is said of the host (nobody is there) counts each time. What is said of an object (a 5xx for
   it, silence about it) counts once per object: one object that is broken says nothing of others.
2. Half-open, one request at a time may pass. One that ends without a verdict gives its turn back.
3. An answer to any request closes the circuit: it is the upstream that answers. Failures of
   requests that were under way when it opened change nothing.
4. A rest is jittered down to half, so that many mirrors which lost the same upstream do not come
   back in step; an upstream's own Retry-After lengthens it.

Units: seconds of the monotonic clock.
Does not: know an order of URLs (`preference`), ask, or wait.
Runs in: keeper. Pure: time and random numbers are given.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Circuit(enum.Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerLimits:
    """`[upstream]` breaker_failures, breaker_rest, breaker_longest."""

    failures: int
    rest_s: float
    longest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """`subject`: the object that it is about; "": the host. `retry_after_s` 0: not said."""

    subject: str = ""
    retry_after_s: float = 0.0


class Breaker:
    """One circuit; begins closed."""

    __slots__ = ("_failures", "_has_probe", "_limits", "_open_until", "_openings", "_subjects")

    def __init__(self, limits: BreakerLimits) -> None:
        self._limits = limits
        self._failures = 0
        self._subjects: set[str] = set()
        self._openings = 0  # since it was last closed
        self._open_until = 0.0
        self._has_probe = False

    @property
    def openings(self) -> int:
        """How often it opened since it was last closed: once, and once for each failed probe."""
        return self._openings

    def circuit(self, now: float) -> Circuit:
        if not self._openings:
            return Circuit.CLOSED
        return Circuit.OPEN if now < self._open_until else Circuit.HALF_OPEN

    def admits(self, now: float) -> bool:
        """Whether a request may pass."""
        circuit = self.circuit(now)
        return circuit is Circuit.CLOSED or (circuit is Circuit.HALF_OPEN and not self._has_probe)

    def closed_for_s(self, now: float) -> float:
        """How long no request may pass; 0: one may, or the one that probes decides."""
        return max(0.0, self._open_until - now) if self._openings else 0.0

    def enter(self, now: float) -> bool:
        """Let an admitted request pass; True: it is the probe, whose turn ends with `left`."""
        is_probe = self.circuit(now) is Circuit.HALF_OPEN
        if is_probe and self._has_probe:
            raise ValueError("one probe at a time")
        self._has_probe = self._has_probe or is_probe
        return is_probe

    def left(self) -> None:
        """The probe has ended, with or without a verdict."""
        self._has_probe = False

    def succeeded(self) -> bool:
        """The URL answered. True: that closed the circuit."""
        was_open = self._openings > 0
        self._failures = self._openings = 0
        self._subjects.clear()
        self._open_until = 0.0
        return was_open

    def failed(self, now: float, failure: Failure, *, is_probe: bool, jitter: float) -> bool:
        """A request failed; `jitter` in [0, 1). True: that opened the circuit, or kept it open."""
        if self._openings:
            if is_probe:
                self._open(now, failure, jitter)
            return is_probe
        if failure.subject in self._subjects:
            return False
        if failure.subject:
            self._subjects.add(failure.subject)  # fewer than `failures`, then it is open
        self._failures += 1
        if self._failures < self._limits.failures:
            return False
        self._open(now, failure, jitter)
        return True

    def _open(self, now: float, failure: Failure, jitter: float) -> None:
        limits = self._limits
        # 2 ** 32 rests are longer than any limit; an unbounded power would grow with the outage.
        rest_s = min(limits.longest_s, limits.rest_s * 2 ** min(self._openings, 32))
        self._openings += 1
        self._open_until = now + max(rest_s * (1 - jitter / 2), failure.retry_after_s)

    def __repr__(self) -> str:
        return f"<Breaker {self._failures} failures, {self._openings} openings>"
