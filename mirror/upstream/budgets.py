"""What one upstream may be asked for: requests and bytes per second, and second requests.

Rules:
1. A `Pace` is a virtual schedule (GCRA, ITU-T I.371 annex A): whoever takes is told how long to
   wait for its turn, in the order of asking. Nothing is queued here, nobody has to come back.
2. What was saved up is bounded by `burst`: after a pause so much may be had at once, never more.
3. A turn that would be too far off is not given: nothing is taken then.
4. Hedges are paid from the requests: each brings `percent` of one. One is there at the start, so
   that a quiet mirror has it when it matters; `HEDGES_SAVED` bounds what a storm may double.

Units: seconds of the monotonic clock; amounts are requests or bytes.
Runs in: keeper. Pure: the time is given.
"""

from __future__ import annotations

_AT_ONCE_S = 1e-6  # less is what floating point leaves of nothing
HEDGES_SAVED = 10  # the requests of 10 s at 20 per second, times 5 percent


class Pace:
    """`rate` per second; `burst` may be taken at once. `rate` 0: as much as anybody likes."""

    __slots__ = ("_burst_s", "_free_at", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst_s = burst / rate if rate else 0.0
        self._free_at = 0.0  # when all that was taken has been earned

    @property
    def is_limited(self) -> bool:
        return self._rate > 0

    def take(self, amount: float, now: float, *, longest_s: float = float("inf")) -> float:
        """Take `amount` and return how long to wait before it may be used; -1: longer than
        `longest_s`, and nothing is taken."""
        if not self._rate:
            return 0.0
        wait_s = self.wait_s(amount, now)
        if wait_s > longest_s:
            return -1.0
        self._free_at = max(self._free_at, now) + amount / self._rate
        return wait_s

    def give_back(self, amount: float) -> None:
        """Return what was taken and not used: whoever asks next waits for so much less."""
        if self._rate:
            self._free_at -= amount / self._rate

    def wait_s(self, amount: float, now: float) -> float:
        """How long one that takes `amount` would wait."""
        if not self._rate:
            return 0.0
        wait_s = max(self._free_at, now) + amount / self._rate - self._burst_s - now
        return wait_s if wait_s > _AT_ONCE_S else 0.0

    def __repr__(self) -> str:
        return f"<Pace {self._rate:g} per s>"


class HedgeBudget:
    """How many second requests may be sent."""

    __slots__ = ("_saved_percent", "_step_percent")

    def __init__(self, percent: int) -> None:
        self._step_percent = percent
        # Whole percents: a hundred twentieths would not add up to 5.
        self._saved_percent = 100 if percent else 0

    @property
    def is_open(self) -> bool:
        return self._saved_percent >= 100

    def earn(self) -> None:
        """A request was sent."""
        self._saved_percent = min(HEDGES_SAVED * 100, self._saved_percent + self._step_percent)

    def spend(self) -> bool:
        """Take one. False: none is left."""
        if not self.is_open:
            return False
        self._saved_percent -= 100
        return True

    def __repr__(self) -> str:
        return f"<HedgeBudget {self._saved_percent / 100:g}>"
