"""How fast one client takes what it is owed, and when it is too slow to be waited for.

Rules:
1. Only the time in which the client is waited for counts: a pause of ours (a slow fill, an idle
   connection) is nobody's fault. The times of several waits add up, so that taking a little now and
   then buys nothing.
2. After `interval_s` of waiting the client must have taken `least_bytes` since the count began;
   then a new count begins. A client is cut at the latest two intervals after it stopped reading.
3. What a client has taken is what its side has acknowledged, not what our kernel took: a socket
   buffer becomes writable in steps of about 80 KB, which at a modem's rate come minutes apart.
4. No timer: `wait` gives a deadline, and whoever sweeps calls `renew` when it has passed.

Units: bytes, seconds of the monotonic clock.
Runs in: worker. Pure.
"""

from __future__ import annotations


class Pace:
    """The count of one connection, made when it is first waited for."""

    __slots__ = ("_counted_from_bytes", "_interval_s", "_least_bytes", "_left_s", "_since_s")

    def __init__(self, interval_s: float, least_bytes: int, taken_bytes: int) -> None:
        self._interval_s = interval_s
        self._least_bytes = least_bytes
        self._counted_from_bytes = taken_bytes
        self._left_s = interval_s
        self._since_s: float | None = None

    def __repr__(self) -> str:
        state = "going" if self._since_s is None else "waiting"
        return f"<Pace {state} {self._left_s:g} s left from {self._counted_from_bytes}>"

    def wait(self, at_s: float) -> float:
        """The client is waited for; return when `renew` is due."""
        if self._since_s is None:
            self._since_s = at_s
        return self._since_s + self._left_s

    def go_on(self, at_s: float) -> None:
        """The client is not waited for any more; harmless when it was not."""
        if self._since_s is not None:
            self._left_s -= at_s - self._since_s
            self._since_s = None

    def renew(self, at_s: float, taken_bytes: int) -> float | None:
        """Judge a wait whose time has passed; when the next is due, None: the client is too slow.

        `taken_bytes`: all that it has taken since the connection began.
        """
        if taken_bytes - self._counted_from_bytes < self._least_bytes:
            return None
        self._counted_from_bytes = taken_bytes
        self._left_s = self._interval_s
        self._since_s = at_s
        return at_s + self._interval_s
