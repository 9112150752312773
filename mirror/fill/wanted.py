"""Which ranges of a body somebody asked for, as hints for the order in which it is fetched.

Rules:
1. Hints only: whatever is asked for here, what is sent is decided by the request.
2. At most `WANTED_MAX` ranges wait to be looked at; more of them come in order, like the rest.
3. A body of which only ranges are fetched is completed as soon as somebody may want the whole.

Units: byte offsets, half-open.
Runs in: keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mirror.fill.messages import Ask
from mirror.store.extents import Run

WANTED_MAX = 64  # per flight; a range is looked at in the loop turn in which it comes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`start` below 0: the last so many bytes; `end` -1: to the end."""

    start: int
    end: int

    def of(self, length: int) -> Run:
        """Return the range of a representation of `length` bytes; empty when it has no such."""
        start = max(0, length + self.start) if self.start < 0 else min(self.start, length)
        end = length if self.end < 0 else min(self.end, length)
        return start, max(start, end)

    @property
    def field(self) -> str:
        """The value of a Range field (RFC 9110 section 14.2)."""
        if self.start < 0:
            return f"bytes={self.start}"
        return f"bytes={self.start}-" if self.end < 0 else f"bytes={self.start}-{self.end - 1}"


def wanted_of(ask: Ask) -> Wanted | None:
    """Return what an ask wants first; None: the whole, or nonsense."""
    start, end = ask.range_start, ask.range_end
    if (start, end) == (0, -1) or end < -1 or (start >= 0 and 0 <= end <= start):
        return None
    return Wanted(start=start, end=-1 if start < 0 else end)


class WantedRanges:
    """Those of one flight: collected until somebody listens."""

    __slots__ = ("_listener", "is_whole", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Wanted] = []
        self.is_whole = False
        self._listener: Callable[[], None] | None = None

    @property
    def first(self) -> Wanted | None:
        """What to ask for first; None: the whole, in order."""
        return self.waiting[0] if self.waiting else None

    def __repr__(self) -> str:
        return f"<WantedRanges {len(self.waiting)} waiting{', whole' if self.is_whole else ''}>"

    def add(self, ask: Ask | None) -> None:
        """Note what an ask wants; None: the whole."""
        wanted = None if ask is None else wanted_of(ask)
        is_full = len(self.waiting) >= WANTED_MAX
        if ask is None or wanted is None or ask.is_conditional or is_full:
            self.is_whole = True
        if wanted is not None and wanted not in self.waiting and not is_full:
            self.waiting.append(wanted)
        if self._listener is not None:
            self._listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each addition, from here on."""
        self._listener = listener

    def deafen(self) -> None:
        self._listener = None
