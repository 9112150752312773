"""A past for the ledger: months of traffic, rolled up by the ledger itself.

Rules:
1. Counting goes through `Ledger.roll_up`, so that what pages show of the past is what the ledger
   would have kept of it.

Runs in: tests.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

from mirror.accounting.counters import CounterFile
from mirror.accounting.layout import Layout, layout_of
from mirror.accounting.ledger import Ledger
from mirror.accounting.state_tables import STATE_TABLES
from mirror.store.state import STATE_NAME, StateDatabase

GROUPS = ("github-actions", "office")
_MIB = 1 << 20
# class: requests per second at noon, bytes of one, share of hits, share of bytes fetched
_SHAPES = {
    "release": (0.4, 60 * _MIB, 0.985, 0.02),
    "rustup": (0.1, 12 * _MIB, 0.97, 0.03),
    "crate": (25.0, 180_000, 0.93, 0.08),
    "index": (60.0, 4_000, 0.88, 0.1),
}


def write_past(
    state: Path, now: float, *, days: int, minutes: int, upstream: str, hourly_days: int = 7
) -> None:
    """Fill the state directory with what `days` of traffic would have left."""
    state.mkdir(parents=True, exist_ok=True)
    layout = layout_of(GROUPS, (upstream,))
    cells = [0] * layout.cells
    chance = random.Random(5)
    database = StateDatabase.open(str(state / STATE_NAME), tables=STATE_TABLES)
    try:
        ledger = Ledger(database)
        before = now - days * 86400
        for at in _moments(now, days, hourly_days, minutes):
            _count(layout, cells, at, at - before, chance, upstream)
            file = CounterFile(path="past", id="past", slot=0, layout=layout, cells=tuple(cells))
            ledger.roll_up([file], at)
            before = at
    finally:
        database.close()


def _moments(now: float, days: int, hourly_days: int, minutes: int) -> Iterator[float]:
    """Days, then hours of the last ones, then minutes: when roll-ups happened."""
    first = now - days * 86400
    last_hours, last_minutes = now - min(days, hourly_days) * 86400, now - minutes * 60
    yield from (first + n * 86400 for n in range(int((last_hours - first) // 86400)))
    yield from (last_hours + n * 3600 for n in range(int((last_minutes - last_hours) // 3600)))
    yield from (last_minutes + n * 60 for n in range(minutes))


def _count(
    layout: Layout, cells: list[int], at: float, seconds: float, chance: random.Random, url: str
) -> None:
    daytime = 0.55 + 0.45 * math.sin((at % 86400) / 86400 * 2 * math.pi - 1.9)
    for name, (per_second, length, hits, fetched) in _SHAPES.items():
        for group, share in (("github-actions", 0.7), ("office", 0.25), ("other", 0.05)):
            requests = per_second * daytime * seconds * share * chance.uniform(0.8, 1.2)
            shares = {"hit": hits, "miss": (1 - hits) * 0.5, "collapsed": (1 - hits) * 0.35}
            for outcome, part in {**shares, "negative": (1 - hits) * 0.15}.items():
                row = layout.row("served", group, name, outcome)
                count = int(requests * part + chance.random())
                cells[row] += count
                cells[row + 1] += 0 if outcome == "negative" else count * length
                cells[row + 2] += count * 400
            row = layout.row("fetched", url, name)
            cells[row] += int(requests * (1 - hits) * 0.6)
            cells[row + 1] += int(requests * length * fetched * chance.uniform(0.5, 1.5))
