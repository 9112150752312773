"""What the month will have avoided, in money: the price file applied to projected volumes.

Rules:
1. Projected bytes, served and fetched, keep the mix of classes, groups and URLs of the last 28 days
   and of the month so far. Requests grow as their bytes do.
2. Tiers count: a month of twice the volume does not cost twice as much.

Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from mirror.accounting.days import DAY_S, floor_to, month_of
from mirror.accounting.forecast import MEAN_DAYS, Projection
from mirror.accounting.history import FetchedLine, ServedLine, Step
from mirror.accounting.prices import Prices
from mirror.accounting.report_rows import Lines, build_table

AnyLine = TypeVar("AnyLine", ServedLine, FetchedLine)


def projected_avoided(
    days: Lines,
    prices: Prices,
    served: Projection | None,
    fetched: Projection | None,
    now: float,
) -> int | None:
    """Return what the whole month will have avoided, in micro-units; None: no projection."""
    if served is None or fetched is None:
        return None
    begin = min(month_of(now), floor_to(now, Step.DAY) - MEAN_DAYS * DAY_S)
    lines = Lines(
        served=_scaled([line for line in days.served if line.at >= begin], served.value, now),
        fetched=_scaled([line for line in days.fetched if line.at >= begin], fetched.value, now),
    )
    return build_table(lines, lines, prices, ()).costs.total.avoided_micro


def _scaled(lines: Sequence[AnyLine], projected_bytes: float, now: float) -> list[AnyLine]:
    """Return the mix of `lines` as one day of the month that sums to the projection."""
    whole = _bytes(lines)
    factor = max(0.0, projected_bytes) / whole if whole else 0.0
    return [
        replace(
            line,
            at=month_of(now),
            columns={name: round(amount * factor) for name, amount in line.columns.items()},
        )
        for line in lines
    ]


def _bytes(lines: Iterable[ServedLine | FetchedLine]) -> int:
    return sum(line.columns["content_bytes"] for line in lines)
