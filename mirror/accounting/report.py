"""The savings report: everything that is told of a span, as values.

Rules:
1. It is made of the ledger (`History`), prices and a moment, and of nothing else: the same input
   gives the same report, whoever shows it (`report_document` JSON, `report_page` HTML, commands).
2. What is missing, approximate or not what it seems is said in `notes`, one sentence each.
3. Money of a span is its share of the bills of its months (`costs`).

Units: bytes of content; money in micro-units; times in Unix seconds.
Does not: format anything for people.
Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from mirror.accounting.days import DAY_S, Span, floor_to, month_after, month_of
from mirror.accounting.figures import Figures
from mirror.accounting.forecast import (
    MAX_WEEKS,
    MEAN_DAYS,
    YEARS_NEEDED_S,
    Growth,
    Projection,
    growth,
    project,
)
from mirror.accounting.history import CurvePoint, FetchedLine, History, ObjectLine, ServedLine, Step
from mirror.accounting.prices import Prices
from mirror.accounting.report_notes import Facts, Note, notes_of
from mirror.accounting.report_projection import projected_avoided
from mirror.accounting.report_rows import Lines, Table, build_table, lines_of

DEFAULT_TOP_OBJECTS: Final = 20
# So far back sums of days are read whatever the span: for growth.
_LOOK_BACK_S: Final = max(YEARS_NEEDED_S + DAY_S, (MAX_WEEKS * 7 + 1) * DAY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What to report; `store_bytes` and `hours_kept_s` are of the configuration, 0: unknown."""

    span: Span
    now: float
    by: tuple[str, ...] = ("class",)
    title: str = ""
    top_objects: int = DEFAULT_TOP_OBJECTS
    store_bytes: int = 0
    hours_kept_s: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of the span, for charts."""

    at: int
    requests: int
    served_bytes: int
    fetched_bytes: int


@dataclass(slots=True, kw_only=True)
class UpstreamAccount:
    """How one upstream URL was treated: what it was asked, and what it said to that."""

    url: str
    columns: Counter[str] = field(default_factory=Counter)
    busiest_at: int = 0
    busiest_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """The calendar month of `now`: so far, and to its end."""

    since: int
    until: int
    figures: Figures
    avoided_micro: int
    served: Projection | None
    saved: Projection | None
    projected_avoided_micro: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    request: ReportRequest
    first_at: int | None
    prices: Prices
    table: Table
    own: Figures
    points: tuple[Point, ...]
    month: Month
    growth: Growth | None
    upstreams: tuple[UpstreamAccount, ...]
    objects: tuple[ObjectLine, ...]
    curve: tuple[CurvePoint, ...]
    notes: tuple[Note, ...]


def build_report(history: History, prices: Prices, request: ReportRequest) -> Report:
    """Return the report. Raises: StoreError when the ledger cannot be read."""
    span, now = request.span, request.now
    today = floor_to(now, Step.DAY)
    # Lines: of the span's months, of the month so far, and of the days that a projection stands on.
    begin = min(month_of(span.since), month_of(now), today - MEAN_DAYS * DAY_S)
    end = max(month_after(span.until - 1), month_after(now))
    days = _read(history, max(0, begin), end, Step.DAY)
    lines = days
    if span.step is not Step.DAY:
        lines = _read(history, span.since, span.until, span.step)
    lines = _between(lines, span.since, span.until)
    months = _between(days, month_of(span.since), month_after(span.until - 1))
    table = build_table(lines, months, prices, request.by)
    first_at = history.first_at()
    curve = tuple(history.curve())
    # Objects are remembered by the day: those of the days that the span touches.
    first_day = floor_to(span.since, Step.DAY)
    objects = tuple(history.objects(first_day, span.until, request.top_objects))
    daily = history.served_by_day(max(0, today - _LOOK_BACK_S), today)
    return Report(
        request=request,
        first_at=first_at,
        prices=prices,
        table=table,
        own=_sum(lines.own),
        points=tuple(_points(lines, span)),
        month=_month(days, prices, first_at, now),
        growth=None if first_at is None else growth(daily, first_at, now),
        upstreams=tuple(_accounts(lines.fetched)),
        objects=objects,
        curve=curve,
        notes=tuple(
            notes_of(
                Facts(
                    span=span,
                    by=request.by,
                    now=now,
                    hours_kept_s=request.hours_kept_s,
                    first_at=first_at,
                    prices=prices,
                    table=table,
                    has_objects=bool(objects),
                    has_curve=bool(curve),
                )
            )
        ),
    )


def _read(history: History, since: int, until: int, step: Step) -> Lines:
    return lines_of(history.served(since, until, step), history.fetched(since, until, step))


def _between(lines: Lines, since: int, until: int) -> Lines:
    return Lines(
        served=[line for line in lines.served if since <= line.at < until],
        fetched=[line for line in lines.fetched if since <= line.at < until],
        own=[line for line in lines.own if since <= line.at < until],
    )


def _sum(lines: Iterable[ServedLine]) -> Figures:
    figures = Figures()
    for line in lines:
        figures.add_served(line)
    return figures


def _daily(lines: Iterable[ServedLine | FetchedLine]) -> dict[int, float]:
    sums: defaultdict[int, float] = defaultdict(float)
    for line in lines:
        sums[line.at] += line.columns["content_bytes"]
    return dict(sums)


def _month(days: Lines, prices: Prices, first_at: int | None, now: float) -> Month:
    since, until = month_of(now), month_after(now)
    lines = _between(days, since, until)
    table = build_table(lines, lines, prices, ())
    served = saved = fetched = None
    if first_at is not None:
        sent, received = _daily(days.served), _daily(days.fetched)
        difference = Counter(sent)
        difference.subtract(received)
        served, fetched = project(sent, first_at, now), project(received, first_at, now)
        saved = project(difference, first_at, now, may_fall=True)
    return Month(
        since=since,
        until=until,
        figures=table.total,
        avoided_micro=table.costs.total.avoided_micro,
        served=served,
        saved=saved,
        projected_avoided_micro=projected_avoided(days, prices, served, fetched, now),
    )


def _points(lines: Lines, span: Span) -> Iterator[Point]:
    requests: Counter[int] = Counter()
    served: Counter[int] = Counter()
    fetched: Counter[int] = Counter()
    for line in lines.served:
        requests[line.at] += line.columns["requests"]
        served[line.at] += line.columns["content_bytes"]
    for each in lines.fetched:
        fetched[each.at] += each.columns["content_bytes"]
    for at in range(span.since, span.until, span.step.value):
        yield Point(
            at=at, requests=requests[at], served_bytes=served[at], fetched_bytes=fetched[at]
        )


def _accounts(lines: Sequence[FetchedLine]) -> list[UpstreamAccount]:
    accounts: dict[str, UpstreamAccount] = {}
    by_step: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for line in lines:
        account = accounts.setdefault(line.upstream, UpstreamAccount(url=line.upstream))
        account.columns.update(line.columns)
        by_step[line.upstream][line.at] += line.columns["requests"]
    for url, steps in by_step.items():
        at, requests = max(steps.items(), key=lambda item: (item[1], -item[0]))
        accounts[url].busiest_at, accounts[url].busiest_requests = at, requests
    return sorted(accounts.values(), key=lambda each: (-each.columns["requests"], each.url))
