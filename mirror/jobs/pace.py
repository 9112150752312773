"""A byte rate kept by waiting: how long to pause after so many bytes.

Rules:
1. What was not used while pausing or idle is lost but for `BURST_S`: no catching up.

Units: bytes, seconds of the monotonic clock.
Runs in: keeper. Pure.
"""

from __future__ import annotations

BURST_S = 0.1


class Pace:
    """One reader's rate of `bytes_per_s`."""

    def __init__(self, bytes_per_s: float) -> None:
        if bytes_per_s <= 0:
            raise ValueError(f"{bytes_per_s} bytes per second")
        self._bytes_per_s = bytes_per_s
        self._paid_until_s = float("-inf")

    def spend(self, nbytes: int, now_s: float, *, share: float = 1.0) -> float:
        """Return how long to wait after `nbytes`, at `share` of the rate."""
        begin_s = max(self._paid_until_s, now_s - BURST_S)
        self._paid_until_s = begin_s + nbytes / (self._bytes_per_s * share)
        return max(0.0, self._paid_until_s - now_s)

    def __repr__(self) -> str:
        return f"<Pace {self._bytes_per_s:.0f} bytes/s>"
