"""Learned heads of one content class that were answered for clients of one group.

Rules:
1. While a tally is open a hit appends the rendering that it was answered with, and does nothing
   else (beside an access log: notes what its line is made of). The first one goes through
   `Accounts`, which opens the tally and sees to it that it is settled, and so closed, in time.
2. Settling sums up and counts in C, so that it costs the same however many objects are asked for
   (`benchmarks.counting`: with counts by object, added up at each settle, 1,000 objects cost three
   times as much as one).

Runs in: worker. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from typing import Final, NamedTuple

from mirror.serve.hot_entry import SIZE_SHIFT, HitRows, Rendering

_SIZE: Final = attrgetter("size")
_BARE_HEAD: Final = attrgetter("bare_head_bytes")
_LOW: Final = (1 << SIZE_SHIFT) - 1


class Sums(NamedTuple):
    """What left; `requests` are those of 304 too."""

    requests: int
    content_bytes: int
    head_bytes: int
    not_modified: int


class Tally:
    """Which rendering was answered whole (200), and as not modified (304), since the last settle.

    `sample_s`: how long the first of them took.
    """

    __slots__ = (
        "_untold_bare",
        "_untold_whole",
        "group",
        "is_open",
        "not_modified",
        "offset",
        "rows",
        "sample_s",
        "whole",
    )

    def __init__(self, group: int, offset: int, rows: HitRows) -> None:
        """`offset`: of the group's rows behind those of the first group, which `rows` are."""
        self._untold_bare: Counter[Rendering] = Counter()
        self._untold_whole: Counter[Rendering] = Counter()
        self.group = group
        self.is_open = False
        self.offset = offset
        self.rows = rows
        self.sample_s = 0.0
        self.whole: list[Rendering] = []
        self.not_modified: list[Rendering] = []

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        answers = len(self.whole) + len(self.not_modified)
        return f"<Tally of group {self.group}, {state}, {answers} answers>"

    def settle(self) -> Sums:
        """Close; return what was answered since the last time."""
        self.is_open = False
        whole, bare = self.whole, self.not_modified
        size, head_bytes = sum(map(_SIZE, whole)), 0
        self._untold_whole.update(whole)
        if bare:
            head_bytes = sum(map(_BARE_HEAD, bare))
            self._untold_bare.update(bare)
        sums = Sums(
            len(whole) + len(bare), size >> SIZE_SHIFT, (size & _LOW) + head_bytes, len(bare)
        )
        whole.clear()
        bare.clear()
        return sums

    def take_all(self) -> Iterator[tuple[Rendering, int, int]]:
        """Forget everything, of a tally that is settled; each rendering, how often it was answered,
        and how often whole."""
        whole, bare = self._untold_whole, self._untold_bare
        self._untold_whole, self._untold_bare = Counter(), Counter()
        for rendering, count in whole.items():
            yield rendering, count + bare.pop(rendering, 0), count
        for rendering, count in bare.items():
            yield rendering, count, 0
