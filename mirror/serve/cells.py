"""Where a worker's figures are in its counters.

Rules:
1. Rows are looked up by name once, when the worker starts; what counts adds to `view` by number.
2. Rows are those of the first client group; another group's lie `group * stride` further.
3. A latency is counted in the one bucket that it falls into, and in the sum.

Units: seconds; in the counters microseconds.
Runs in: worker.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from mirror.accounting.layout import (
    LATENCY_BOUNDS_S,
    LATENCY_COLUMNS,
    OTHER,
    SERVED_COLUMNS,
    TOTALS,
    Outcome,
    Path,
)
from mirror.route.route import ContentClass
from mirror.serve.hot_entry import HitRows
from mirror.serve.ports import Counting

REQUESTS: Final = SERVED_COLUMNS.index("requests")
CONTENT_BYTES: Final = SERVED_COLUMNS.index("content_bytes")
HEAD_BYTES: Final = SERVED_COLUMNS.index("head_bytes")
RANGED: Final = SERVED_COLUMNS.index("ranged")
NOT_MODIFIED: Final = SERVED_COLUMNS.index("not_modified")
CUT: Final = SERVED_COLUMNS.index("cut")
_SUM_US: Final = LATENCY_COLUMNS.index("sum_us")
_US: Final = 1_000_000


class Cells:
    """The counters of one worker, by name."""

    __slots__ = ("_latency", "_served", "_totals", "groups", "hit_rows", "stride", "view")

    def __init__(self, counters: Counting) -> None:
        layout = counters.layout
        self.view = counters.view
        names = next(each for each in layout.sections if each.name == "served").dimensions[0]
        self.groups = len(names)
        self.stride = layout.stride("served", 0)
        classes = (*ContentClass, None)
        # By identity: an enum's own hash is Python code (measured: 0.4 us a look-up, against 0.1).
        self._served = {
            (id(each), id(outcome)): layout.row("served", names[0], class_word(each), outcome.value)
            for each in classes
            for outcome in Outcome
        }
        self._latency = {
            (id(each), id(path)): layout.row("latency", path.value, class_word(each))
            for each in classes
            for path in Path
        }
        self.hit_rows = [
            HitRows(place, self.served(each, Outcome.HIT), self.latency(each, Path.HIT))
            for place, each in enumerate(ContentClass)
        ]
        self._totals = {name: layout.row("total", name) for name in TOTALS}

    def served(self, content_class: ContentClass | None, outcome: Outcome) -> int:
        """Return a row of the first group."""
        return self._served[id(content_class), id(outcome)]

    def latency(self, content_class: ContentClass | None, path: Path) -> int:
        return self._latency[id(content_class), id(path)]

    def add_latency(self, row: int, duration_s: float, count: int = 1) -> None:
        """Count `count` answers that took so long."""
        self.view[row + bisect_left(LATENCY_BOUNDS_S, duration_s)] += count
        self.view[row + _SUM_US] += round(max(0.0, duration_s) * _US) * count

    def count(self, total: str) -> None:
        """Add one to a name of `TOTALS`."""
        self.view[self._totals[total]] += 1

    def close(self) -> None:
        """The counters are about to be closed: what is counted later goes nowhere."""
        self.view = memoryview(bytearray(len(self.view) * 8)).cast("Q")


def class_word(content_class: ContentClass | None) -> str:
    return OTHER if content_class is None else content_class.value
