"""Content that leaves no faster than its client's share of `[limits] client_rate`.

Rules:
1. A client has an allowance with each worker. It grows once a tick, by the client's rate times the
   part that this worker's transfers are of all its transfers, and is taken from by whatever sends.
2. A transfer that has none left waits for the next tick. Then the waiting ones get equal parts, in
   turn; what one does not take (its client reads slowly) is the next one's.
3. What is not used within a tick is gone: a pause earns no burst.
4. A transfer that waits here is not one that its client keeps waiting: no deadline runs.
5. Content counts, heads do not: they are answers to requests, which have a limit of their own.

Measured against the sender alone: nothing without a limit, for nothing here is made then.

Units: bytes (`left` of an allowance too), seconds of the monotonic clock.
Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

FIRST_S: Final = 0.25  # of its rate a client has at once when it begins: what a tick brings
ROUNDS: Final = 4


class Outlet(Protocol):
    """A `sender.Outlet`."""

    @property
    def is_paused(self) -> bool: ...

    @property
    def room_bytes(self) -> int: ...

    def write_some(self, view: memoryview) -> int: ...


class Allowance:
    """What one client may still be sent by this worker until the next tick."""

    __slots__ = (
        "_active",
        "_begin",
        "_count_wait",
        "_is_going",
        "_rate",
        "_waiting",
        "left",
        "turn",
    )

    def __init__(
        self, rate: float, begin: Callable[[], int], count_wait: Callable[[], None]
    ) -> None:
        """`rate`: bytes per second, of all workers together.

        `begin` is called when `refill` is to come with each tick from here on, and returns how many
        transfers other workers have for the client; `count_wait` once for each outlet that waits.
        """
        self._rate = rate
        self._begin = begin
        self._count_wait = count_wait
        self._is_going = False
        # Dictionaries, for their order: whoever waits longest comes first.
        self._active: dict[PacedOutlet, None] = {}
        self._waiting: dict[PacedOutlet, None] = {}
        self.left = 0.0
        self.turn = 0  # of what the outlets' credit is

    def __repr__(self) -> str:
        numbers = f"{len(self._active)} active, {len(self._waiting)} wait"
        return f"<Allowance {self.left:.0f} left, {numbers}>"

    @property
    def active(self) -> int:
        """Transfers that sent, or would have, since the last tick."""
        return len(self._active)

    def renew(self, outlet: PacedOutlet) -> None:
        """Give credit to a transfer that had none in this turn."""
        if not self._is_going:
            self._is_going = True
            self.turn += 1
            self.left = self._rate * FIRST_S / (1 + self._begin())
        self._active[outlet] = None
        outlet.credit_bytes = max(0, int(self.left)) // len(self._active)
        outlet.turn = self.turn

    def wait(self, outlet: PacedOutlet) -> None:
        """Let the transfer go on at the next tick."""
        self._active[outlet] = None
        self._waiting[outlet] = None
        if not outlet.has_waited:
            outlet.has_waited = True
            self._count_wait()

    def refill(self, elapsed_s: float, elsewhere: int) -> bool:
        """Let those that wait go on; False when nothing was active since the last time."""
        active = len(self._active)
        if not active:
            self._is_going = False
            return False
        self.turn += 1
        self.left = min(self.left, 0.0)  # rule 3; what was taken too much is owed
        self.left += self._rate * elapsed_s * active / (active + elsewhere)
        self._active = {}
        # What one did not take after others had their parts is theirs in another round.
        for _ in range(ROUNDS):
            if self.left < 1 or not self._waiting:
                break
            self._share_out()
        self._active |= self._waiting
        return True

    def _share_out(self) -> None:
        waiting, self._waiting = self._waiting, {}
        passed_over: dict[PacedOutlet, None] = {}
        for number, outlet in enumerate(waiting):
            if self.left < 1:
                passed_over[outlet] = None
                continue
            outlet.credit_bytes = max(1, int(self.left) // (len(waiting) - number))
            outlet.turn = self.turn
            outlet.go_on()
        self._waiting = passed_over | self._waiting


class PacedOutlet:
    """A stream as a paced sender sees it; `go_on` is the sender's to set."""

    __slots__ = ("_allowance", "_stream", "credit_bytes", "go_on", "has_waited", "turn")

    def __init__(self, stream: Outlet, allowance: Allowance) -> None:
        self._allowance = allowance
        self._stream = stream
        self.credit_bytes = 0
        self.go_on: Callable[[], None] = _nothing
        self.has_waited = False
        self.turn = -1

    def __repr__(self) -> str:
        return f"<PacedOutlet {self.credit_bytes} left>"

    @property
    def is_paused(self) -> bool:
        if self._stream.is_paused:
            return True
        allowance = self._allowance
        if self.turn != allowance.turn:
            allowance.renew(self)
        if self.credit_bytes > 0 and allowance.left >= 1:
            return False
        allowance.wait(self)
        return True

    @property
    def room_bytes(self) -> int:
        return min(self.credit_bytes, int(self._allowance.left), self._stream.room_bytes)

    def write_some(self, view: memoryview) -> int:
        """See `Outlet`."""
        taken = self._stream.write_some(view[: self.room_bytes])
        self.credit_bytes -= taken
        self._allowance.left -= taken
        return taken


def _nothing() -> None:
    """Nobody sends yet."""
