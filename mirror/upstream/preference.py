"""Whether a URL is asked in its place of the order, or last: failover without flapping.

    preferred ── failure ──> resting ── `rest_s` ──> on trial ── good for `hold_s` ──> preferred
                                ^                       │
                                └─────── failure ───────┘

Rules:
1. Resting, it is asked last: never left out, since it may be all there is (who is left out is the
   breaker's to say).
2. On trial one request at a time is asked of it in its place, all others elsewhere first: a URL
   that is asked last by everybody could never show that it is well again, and one that is asked
   by everybody at once after its first success may fall over again.
3. It is preferred again by a success at least `hold_s` after the first one of an unbroken row.

Units: seconds of the monotonic clock.
Runs in: keeper. Pure: the time is given.
"""

from __future__ import annotations


class Preference:
    """Begins preferred."""

    __slots__ = ("_good_since", "_has_trial", "_hold_s", "_is_preferred", "_rest_s", "_rests_until")

    def __init__(self, *, rest_s: float, hold_s: float) -> None:
        self._rest_s = rest_s
        self._hold_s = hold_s
        self._is_preferred = True
        self._rests_until = 0.0
        self._good_since: float | None = None
        self._has_trial = False

    @property
    def is_preferred(self) -> bool:
        """False: it is resting or on trial."""
        return self._is_preferred

    def is_in_place(self, now: float) -> bool:
        """Whether the next request goes to it in its place of the order."""
        return self._is_preferred or (now >= self._rests_until and not self._has_trial)

    def rests_for_s(self, now: float) -> float:
        return 0.0 if self._is_preferred else max(0.0, self._rests_until - now)

    def enter(self, now: float) -> bool:
        """A request goes to it; True: as the trial, whose turn ends with `left`."""
        is_trial = not self._is_preferred and self.is_in_place(now)
        self._has_trial = self._has_trial or is_trial
        return is_trial

    def left(self) -> None:
        self._has_trial = False

    def succeeded(self, now: float) -> None:
        if self._is_preferred:
            return
        if self._good_since is None:
            self._good_since = now
        self._is_preferred = now - self._good_since >= self._hold_s

    def failed(self, now: float) -> None:
        self._is_preferred = False
        self._good_since = None
        self._rests_until = now + self._rest_s

    def __repr__(self) -> str:
        return f"<Preference {'preferred' if self._is_preferred else 'asked last or on trial'}>"
