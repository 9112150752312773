"""How many requests a client has made within the last `WINDOW_MS`, over all workers.

Time is cut into windows. Each worker counts a client's requests of this window and of the one
before; of the latter as much counts as the last `WINDOW_MS` reach back into it.

Rules:
1. Counts of several workers are added up, so each worker writes its own and reads the others'.
2. A client that keeps to its rate is never refused for having been quiet before: a whole window's
   requests may come at once. In the worst case two windows' come within one (a burst at the end of
   one, another at the end of the next); the rate over longer times holds.
3. Refused requests are not counted: a client that asks too fast gets its rate, not nothing.

Units: milliseconds of the monotonic clock; requests.
Runs in: worker. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

WINDOW_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Counted:
    """Requests of the window `number`, and of the one before it."""

    number: int
    now: int
    before: int

    def at(self, number: int) -> Counted:
        """Return the same requests as they count in the window `number`."""
        if number == self.number:
            return self
        if number == self.number + 1:
            return Counted(number, 0, self.now)
        if number == self.number - 1:  # another worker's clock has ticked already
            return Counted(number, self.before + self.now, 0)
        return Counted(number, 0, 0)

    def plus(self, other: Counted) -> Counted:
        """Return the sum, in this one's window."""
        moved = other.at(self.number)
        return Counted(self.number, self.now + moved.now, self.before + moved.before)


def window_of(now_ms: int) -> int:
    return now_ms // WINDOW_MS


def has_room(counted: Counted, now_ms: int, limit: int) -> bool:
    """Whether one more request is within `limit` per window; `counted` is of the window of now."""
    return used(counted, now_ms) + 1 <= limit


def used(counted: Counted, now_ms: int) -> float:
    """Return the requests of the last `WINDOW_MS`."""
    return counted.now + counted.before * (1 - now_ms % WINDOW_MS / WINDOW_MS)


def wait_s(counted: Counted, now_ms: int, limit: int) -> int:
    """Return after how many whole seconds there is room, if nothing else is asked; at least 1."""
    spent_ms = now_ms % WINDOW_MS
    if counted.now + 1 <= limit:
        due_ms = _share_ms(counted.before, limit - 1 - counted.now) - spent_ms
    else:
        due_ms = WINDOW_MS - spent_ms + _share_ms(counted.now, limit - 1)
    return max(1, math.ceil(due_ms / 1000))


def _share_ms(before: int, room: int) -> float:
    """How far into a window no more than `room` of the window before count."""
    return max(0.0, WINDOW_MS * (1 - room / before)) if before else 0.0
