"""Which bytes of a representation are there: sorted runs that neither touch nor overlap.

Rules:
1. Runs that touch are one run; an empty run does not exist.
2. Values are never changed in place: whoever was handed a tuple keeps what it saw.

Units: byte offsets, half-open `[start, end)`.
Does not: know what the bytes are, or where.
Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

Run = tuple[int, int]
Runs = tuple[Run, ...]


class Extents:
    """A set of offsets, kept as runs. There are tens of them, so each change makes a new tuple."""

    __slots__ = ("runs",)

    def __init__(self, runs: Runs = ()) -> None:
        self.runs: Runs = ()
        for start, end in runs:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Take `[start, end)` in, joined with what it touches."""
        if start >= end:
            return
        runs = self.runs
        first = bisect_left(runs, start, key=_end)  # the first run that ends at `start` or later
        last = bisect_right(runs, end, key=_start)  # behind the last that begins at `end` or before
        if first < last:
            start, end = min(start, runs[first][0]), max(end, runs[last - 1][1])
        self.runs = (*runs[:first], (start, end), *runs[last:])

    def drop_before(self, offset: int) -> None:
        """Forget everything before `offset`."""
        if self.runs and self.runs[0][0] < offset:
            kept = [(max(start, offset), end) for start, end in self.runs if end > offset]
            self.runs = tuple(kept)

    def end_at(self, offset: int) -> int:
        """Return where the run that holds `offset` ends; `offset` itself when none does."""
        index = bisect_right(self.runs, offset, key=_start) - 1
        return max(offset, self.runs[index][1]) if index >= 0 else offset

    def next_start(self, offset: int) -> int:
        """Return where the first run that begins at or behind `offset` begins; -1: there is none"""
        index = bisect_left(self.runs, offset, key=_start)
        return self.runs[index][0] if index < len(self.runs) else -1

    @property
    def total_bytes(self) -> int:
        return sum(end - start for start, end in self.runs)

    def __repr__(self) -> str:
        return f"<Extents {' '.join(f'{start}-{end}' for start, end in self.runs) or 'none'}>"


def _start(run: Run) -> int:
    return run[0]


def _end(run: Run) -> int:
    return run[1]
