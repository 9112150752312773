"""A report in words and tables: what the page, the text and Markdown show alike.

Rules:
1. Every value is text ready to be shown; escaping is that of the format that shows it.
2. The same order everywhere: what was saved, for whom, how it goes on, how upstream was treated.

Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mirror.accounting.costs import Cost
from mirror.accounting.days import date_text, time_text
from mirror.accounting.figures import Figures
from mirror.accounting.history import Step
from mirror.accounting.money import money_text
from mirror.accounting.prices import Meter, MeterPath, Prices
from mirror.accounting.report import Report
from mirror.accounting.report_words import (
    UNKNOWN,
    bytes_text,
    count_text,
    disk_text,
    growth_text,
    percent_text,
    projection_text,
)

_HEADINGS: Final = (
    *("requests", "sent", "fetched", "saved", "saved %", "hit ratio", "byte hit ratio"),
    "cost avoided",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One of the figures that come first."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table; the first `names` columns are words, the others amounts. `empty` where no rows."""

    key: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: tuple[str, ...] = ()
    names: int = 1
    is_long: bool = False  # the first column has long words, such as URLs
    lead: str = ""
    empty: str = ""


def span_text(report: Report) -> str:
    """Return "2026-10-24 to 2026-11-22 (UTC)", both days included."""
    span = report.request.span
    if span.step is Step.DAY:
        return f"{date_text(span.since)} to {date_text(span.until - 1)} (UTC)"
    return f"{time_text(span.since)} to {time_text(span.until)}"


def facts_of(report: Report) -> tuple[Fact, ...]:
    """Return the figures that come first."""
    total, cost = report.table.total, report.table.costs.total
    fetched = total.fetched
    return (
        Fact(
            label="saved for upstream",
            value=bytes_text(total.saved_bytes),
            detail=f"{bytes_text(total.served_bytes)} sent to clients, "
            f"{bytes_text(None if fetched is None else fetched.content_bytes)} fetched",
        ),
        Fact(
            label="cost avoided",
            value=money_text(cost.avoided_micro, report.prices.currency),
            detail=_cost_detail(report.prices, cost),
        ),
        Fact(
            label="answered from here",
            value=percent_text(total.request_hit_ratio),
            detail=f"of requests; {percent_text(total.byte_hit_ratio)} of bytes",
        ),
        Fact(
            label="requests upstream was spared",
            value=count_text(total.spared_requests),
            detail=f"{count_text(total.requests)} answered, "
            f"{count_text(None if fetched is None else fetched.requests)} asked",
        ),
    )


def sections_of(report: Report) -> tuple[Section, ...]:
    """Return all tables, in their order."""
    return (
        _table(report),
        *_payers(report),
        _month(report),
        _outcomes(report),
        _upstreams(report),
        _objects(report),
        _curve(report),
        _prices(report.prices),
    )


def _cost_detail(prices: Prices, cost: Cost) -> str:
    kind = "example list prices" if prices.is_example else "the configured prices"
    parts = f"{money_text(cost.without_micro, prices.currency)} without the mirror, "
    parts += f"{money_text(cost.fetched_micro, prices.currency)} with it"
    if cost.egress_micro:
        parts += f", {money_text(cost.egress_micro, prices.currency)} for sending"
    return f"{parts}; by {kind}"


def _table(report: Report) -> Section:
    table, currency = report.table, report.prices.currency
    has_costs = "outcome" not in table.by
    return Section(
        key="table",
        title=f"By {' and '.join(table.by)}" if table.by else "In total",
        headings=(*(table.by or ("all",)), *_HEADINGS),
        names=max(1, len(table.by)),
        rows=tuple(
            (
                *row.key,
                *_cells(row.figures, table.costs.rows[row.key] if has_costs else None, currency),
            )
            for row in table.rows
            if table.by
        ),
        total=(
            "total",
            *[""] * (len(table.by) - 1),
            *_cells(table.total, table.costs.total, currency),
        ),
        lead=_own_text(report.own),
        empty="Nothing was served in this span.",
    )


def _own_text(own: Figures) -> str:
    if not own.requests:
        return ""
    return (
        f"Not counted: {count_text(own.requests)} requests for what is not upstream's, such as "
        f"health checks, the front page and refused requests ({bytes_text(own.served_bytes)})."
    )


def _cells(figures: Figures, cost: Cost | None, currency: str) -> tuple[str, ...]:
    fetched = figures.fetched
    return (
        count_text(figures.requests),
        bytes_text(figures.served_bytes),
        bytes_text(None if fetched is None else fetched.content_bytes),
        bytes_text(figures.saved_bytes),
        percent_text(figures.saved_ratio),
        percent_text(figures.request_hit_ratio),
        percent_text(figures.byte_hit_ratio),
        UNKNOWN if cost is None else money_text(cost.avoided_micro, currency),
    )


def _payers(report: Report) -> Iterator[Section]:
    payers = report.table.costs.payers
    if len(payers) < 2 and not any(cost.egress_micro for cost in payers.values()):
        return
    currency = report.prices.currency
    yield Section(
        key="payers",
        title="Who avoids what",
        headings=("payer", "without the mirror", "fetching costs", "sending costs", "avoided"),
        rows=tuple(
            (
                payer,
                *(
                    money_text(amount, currency)
                    for amount in (
                        cost.without_micro,
                        cost.fetched_micro,
                        cost.egress_micro,
                        cost.avoided_micro,
                    )
                ),
            )
            for payer, cost in payers.items()
        ),
    )


def _month(report: Report) -> Section:
    month, currency = report.month, report.prices.currency
    projected = month.projected_avoided_micro
    return Section(
        key="month",
        title=f"Month to date: {date_text(month.since)[:7]}",
        headings=("amount", "so far", "to the end of the month (95 % interval)"),
        rows=(
            ("sent", bytes_text(month.figures.served_bytes), projection_text(month.served)),
            ("saved", bytes_text(month.figures.saved_bytes), projection_text(month.saved)),
            (
                "cost avoided",
                money_text(month.avoided_micro, currency),
                "too early to tell" if projected is None else money_text(projected, currency),
            ),
        ),
        lead=f"Growth of what is sent: {growth_text(report.growth)}",
    )


def _outcomes(report: Report) -> Section:
    total = report.table.total
    return Section(
        key="outcomes",
        title="How requests ended",
        headings=("outcome", "requests", "sent"),
        rows=tuple(
            (word, count_text(requests), bytes_text(total.bytes_by_outcome[word]))
            for word, requests in total.requests_by_outcome.most_common()
            if requests
        ),
        lead=f"{count_text(total.columns['not_modified'])} answers were 304 (not modified), "
        f"{count_text(total.columns['ranged'])} a part of an object, "
        f"{count_text(total.columns['cut'])} ended before they were complete.",
        empty="Nothing was served in this span.",
    )


def _upstreams(report: Report) -> Section:
    columns = ("requests", "not_modified", "retried", "throttled", "failed")
    span = report.request.span
    begin = max(span.since, report.first_at or span.since)
    span_s = max(60.0, min(report.request.now, span.until) - begin)
    step = span.step.name.lower()
    return Section(
        key="upstreams",
        title="How upstream was treated",
        headings=(
            *("upstream", "requests", "304", "asked again", "429", "failed"),
            *("fetched", "per minute", f"busiest {step}"),
        ),
        rows=tuple(
            (
                account.url,
                *(count_text(account.columns[name]) for name in columns),
                bytes_text(account.columns["content_bytes"]),
                f"{account.columns['requests'] * 60 / span_s:.2f}",
                f"{count_text(account.busiest_requests)} ({_when(report, account.busiest_at)})",
            )
            for account in report.upstreams
        ),
        is_long=True,
        lead="429 is an upstream saying that it is asked too often: it should be zero.",
        empty="No upstream was asked in this span.",
    )


def _when(report: Report, at: int) -> str:
    return date_text(at) if report.request.span.step is Step.DAY else time_text(at)


def _objects(report: Report) -> Section:
    return Section(
        key="objects",
        title="Most requested objects",
        headings=("object", "requests at least", "sent at least", "off by at most"),
        rows=tuple(
            (
                line.key,
                count_text(line.requests),
                bytes_text(line.content_bytes),
                count_text(line.error),
            )
            for line in report.objects
        ),
        is_long=True,
        lead=""
        if report.request.span.step is Step.DAY
        else "These are remembered by the day: of the days that the span touches.",
        empty="None are remembered for this span.",
    )


def _curve(report: Report) -> Section:
    budget = report.request.store_bytes
    return Section(
        key="curve",
        title="What other store sizes would do",
        headings=("store", "bytes answered from disk", "requests answered from disk"),
        rows=tuple(
            (
                disk_text(point.store_bytes) + (" (now)" if point.store_bytes == budget else ""),
                percent_text(point.byte_hit_ratio),
                percent_text(point.request_hit_ratio),
            )
            for point in report.curve
        ),
        lead=f"The store may hold {disk_text(budget)} now." if budget else "",
        empty="Too little was asked for yet.",
    )


def _prices(prices: Prices) -> Section:
    return Section(
        key="prices",
        title="Prices used" + (" (the example; nobody's bill)" if prices.is_example else ""),
        headings=("price", "payer", "counts", "per gigabyte", "per 10,000 requests", "source"),
        names=6,
        rows=tuple(
            (
                meter.name,
                meter.payer,
                _counts_text(meter),
                _tiers_text(meter, prices.currency),
                _price_text(meter.micro_per_10000_requests, prices.currency)
                if meter.micro_per_10000_requests
                else UNKNOWN,
                f"{meter.source} {meter.as_of}".strip() or UNKNOWN,
            )
            for meter in prices.meters
        ),
        lead="What was sent is what upstream would have sent; what was fetched is what it did"
        " send. Work, machines and electricity of the mirror are not counted.",
    )


def _counts_text(meter: Meter) -> str:
    what = "what the mirror sends" if meter.path is MeterPath.EGRESS else "what upstream sends"
    of = [*meter.upstreams, *meter.urls]
    to = f" to {', '.join(meter.groups)}" if meter.groups else ""
    behind = f", behind {bytes_text(meter.others_bytes)} of others" if meter.others_bytes else ""
    free = f", {bytes_text(meter.free_bytes)} a month free" if meter.free_bytes else ""
    return what + (f" of {', '.join(of)}" if of else "") + to + behind + free


def _tiers_text(meter: Meter, currency: str) -> str:
    prices = [tier.micro_per_gigabyte for tier in meter.tiers]
    if len(set(prices)) == 1:
        return _price_text(prices[0], currency)
    first, last = _price_text(max(prices), currency), _price_text(min(prices), currency)
    begins = _price_text(_first_price(meter), currency)
    return f"{first} to {last} in {len(prices)} tiers; yours begin at {begins}"


def _first_price(meter: Meter) -> int:
    """Return the price of the first gigabyte that is not free, behind what others use."""
    used = max(0, meter.others_bytes - meter.free_bytes)
    return next(
        tier.micro_per_gigabyte
        for tier in meter.tiers
        if tier.up_to_bytes is None or used < tier.up_to_bytes
    )


def _price_text(micro: int, currency: str) -> str:
    text = f"{micro / 1e6:.6f}".rstrip("0")
    digits = len(text.partition(".")[2])
    return f"{text}{'0' * max(0, 2 - digits)} {currency}"
