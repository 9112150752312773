"""Days, hours and months of UTC as Unix seconds.

Rules:
1. A day is 86,400 s from midnight UTC; months are calendar months.
2. Spans are half-open, `[since, until)`.

Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from mirror.accounting.history import Step

DAY_S = Step.DAY.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span that is summed by `step`; both ends lie on steps."""

    since: int
    until: int
    step: Step

    def __post_init__(self) -> None:
        if not 0 <= self.since < self.until:
            raise ValueError("a span begins before it ends")
        if self.since % self.step.value or self.until % self.step.value:
            raise ValueError("a span begins and ends on a step")


def span_of(since: float, until: float, step: Step) -> Span:
    """Return the smallest span of whole steps that holds both ends."""
    first = floor_to(since, step)
    last = -floor_to(-until, step)
    return Span(since=first, until=max(last, first + step.value), step=step)


def floor_to(at: float, step: Step) -> int:
    """Return the begin of the step that `at` lies in."""
    return int(at // step.value) * step.value


def month_of(at: float) -> int:
    """Return the first second of the calendar month that `at` lies in."""
    return _first(*_year_month(at))


def month_after(at: float) -> int:
    """Return the first second of the next calendar month."""
    year, month = _year_month(at)
    return _first(year + month // 12, month % 12 + 1)


def days_between(since: int, until: int) -> Iterator[int]:
    """Yield the first second of each day of a span that begins at midnight."""
    return iter(range(since, until, DAY_S))


def date_text(at: float) -> str:
    """Return "2026-11-22"."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def month_text(at: float) -> str:
    """Return "2026-11"."""
    return date_text(at)[:7]


def time_text(at: float) -> str:
    """Return "2026-11-22T14:00:00Z"."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _year_month(at: float) -> tuple[int, int]:
    moment = datetime.fromtimestamp(at, UTC)
    return moment.year, moment.month


def _first(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())
