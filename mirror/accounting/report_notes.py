"""What a reader must know to believe a report: what is missing, approximate or shared out.

Rules:
1. One sentence each, for people who did not set the mirror up; `code` is for programs, and stays.

Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from mirror.accounting.days import Span, date_text
from mirror.accounting.history import Step
from mirror.accounting.prices import Prices, Side
from mirror.accounting.report_rows import Table

PRICES_OLD_DAYS: Final = 366  # list prices change about yearly


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """`is_warning`: a figure is not what it seems; otherwise how to read it."""

    code: str
    text: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a report stands on; `hours_kept_s` 0: unknown."""

    span: Span
    by: Sequence[str]
    now: float
    hours_kept_s: float
    first_at: int | None
    prices: Prices
    table: Table
    has_objects: bool
    has_curve: bool


def notes_of(facts: Facts) -> Iterator[Note]:
    """Yield what is to be said, warnings first."""
    table, by = facts.table, facts.by
    yield from _of_the_span(facts)
    yield from _of_the_prices(facts.prices, table, facts.now)
    if (table.total.saved_bytes or 0) < 0:
        yield Note(
            code="negative-savings",
            is_warning=True,
            text="More was fetched from upstream than was sent to clients: what was fetched has not"
            " been asked for often enough yet.",
        )
    if table.costs.total.avoided_micro < 0:
        yield Note(
            code="negative-money",
            is_warning=True,
            text="By these prices the mirror cost more than it spared.",
        )
    if facts.span.until > facts.now:
        unit = facts.span.step.name.lower()
        yield Note(code="not-over", text=f"The last {unit} of the span is not over yet.")
    if "group" in by:
        yield Note(
            code="groups-share-fetches",
            text="An object is fetched once for all: what was fetched, and its cost, is divided"
            " among client groups by the bytes that they took.",
        )
    if "outcome" in by:
        yield Note(
            code="outcomes-have-no-fetches",
            text="What was fetched, saved and avoided cannot be said by outcome; see the total.",
        )
    if facts.has_objects:
        yield Note(
            code="objects-approximate",
            text="Most requested objects are counted in bounded memory: figures are lower bounds,"
            " off by at most the error given with each.",
        )
    if facts.has_curve:
        yield Note(
            code="curve-approximate",
            text="What other store sizes would do is worked out from a sample of the objects.",
        )
    else:
        yield Note(
            code="no-curve",
            text="Too little was asked for to say what other store sizes would do.",
        )


def _of_the_span(facts: Facts) -> Iterator[Note]:
    span, now, first_at = facts.span, facts.now, facts.first_at
    if first_at is None:
        yield Note(code="nothing-counted", is_warning=True, text="Nothing was counted yet.")
    elif first_at >= span.until:
        yield Note(
            code="nothing-counted",
            is_warning=True,
            text=f"Nothing was counted in this span: counting began on {date_text(first_at)}.",
        )
    elif first_at // span.step.value * span.step.value > span.since:
        yield Note(
            code="counting-began",
            is_warning=True,
            text=f"Counting began on {date_text(first_at)}: of the span before, nothing is known.",
        )
    kept_s = facts.hours_kept_s
    if span.step is not Step.DAY and kept_s and span.since < now - kept_s:
        yield Note(
            code="hours-gone",
            is_warning=True,
            text="The span reaches back beyond accounting.hours_kept: of its begin only sums by"
            " day are left, which this table cannot show.",
        )


def _of_the_prices(prices: Prices, table: Table, now: float) -> Iterator[Note]:
    if prices.is_example:
        yield Note(
            code="example-prices",
            is_warning=True,
            text="No prices are configured: money is by the example prices that come along, public"
            " list prices and nobody's bill. Name a price file in accounting.prices.",
        )
    old = [
        meter.name
        for meter in prices.meters
        if meter.as_of
        and (date.fromisoformat(date_text(now)) - date.fromisoformat(meter.as_of)).days
        > PRICES_OLD_DAYS
    ]
    if old:
        yield Note(
            code="old-prices",
            is_warning=True,
            text=f"Nobody has looked at these prices for a year: {_list(old)}.",
        )
    yield from _of_the_unpriced(prices, table)


def _of_the_unpriced(prices: Prices, table: Table) -> Iterator[Note]:
    metering = table.metering
    free = sorted(
        {
            content_class
            for (_payer, side, content_class), amount in metering.unpriced.items()
            if side is Side.WITHOUT and amount
        }
        - {
            content_class
            for (_payer, side, content_class), amount in metering.priced.items()
            if side is Side.WITHOUT and amount
        }
    )
    if free:
        yield Note(
            code="unpriced",
            is_warning=True,
            text=f"No price fits what was served of: {_list(free)}.",
        )
    for payer in prices.payers:
        above = [
            content_class
            for (name, side, content_class), amount in sorted(
                metering.unpriced.items(), key=lambda item: (item[0][0], item[0][2])
            )
            if name == payer
            and side is Side.FETCHED
            and amount
            and metering.priced[payer, Side.WITHOUT, content_class]
        ]
        if above:
            yield Note(
                code="fetches-unpriced",
                is_warning=True,
                text=f"What {payer} avoids is told too high: no price of theirs fits what the"
                f" mirror itself fetched of: {_list(above)}.",
            )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
