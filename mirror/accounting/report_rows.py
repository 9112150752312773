"""A report's table: lines of the ledger summed by what the reader asks for, each row with its cost.

Rules:
1. What has no content class (front page, health checks, refusals) was never upstream's to send: it
   is summed apart (`own`), and neither saved nor priced.
2. The ledger cannot say for which client group something was fetched, for it is fetched once for
   all. Each step's fetches of a class are divided among the groups by the bytes of the class that
   they took in that step (else in the whole span). This is done at the finest grain whatever is
   asked for, so that a group has the same figures in every table.
3. By outcome nothing is said of fetches and money: a hit fetches nothing and owes its bytes to a
   miss.

Units: bytes of content.
Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from mirror.accounting.costs import Costs, Metering, RowKey, Volume
from mirror.accounting.days import date_text, month_of, month_text, time_text
from mirror.accounting.figures import Figures
from mirror.accounting.history import FetchedLine, ServedLine
from mirror.accounting.layout import OTHER
from mirror.accounting.money import divided
from mirror.accounting.prices import UPSTREAM_OF_CLASS, Prices, Side

_TIMES: Final[Mapping[str, Callable[[int], str]]] = {
    "hour": time_text,
    "day": date_text,
    "week": lambda at: datetime.fromtimestamp(at, UTC).strftime("%G-W%V"),
    "month": month_text,
}
TIMES: Final = tuple(_TIMES)
DIMENSIONS: Final = ("class", "group", "outcome", "upstream", *TIMES)

_Place = tuple[RowKey, int, str, str]  # row, month, class, and group or URL


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines of one span; those of class "other" that were served are apart."""

    served: Sequence[ServedLine]
    fetched: Sequence[FetchedLine]
    own: Sequence[ServedLine] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    key: RowKey
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`costs` has a cost per row but for tables by outcome, where no row has one."""

    by: tuple[str, ...]
    rows: tuple[Row, ...]
    total: Figures
    costs: Costs
    metering: Metering


def lines_of(served: Iterable[ServedLine], fetched: Iterable[FetchedLine]) -> Lines:
    """Put what has no content class apart."""
    lines = list(served)
    return Lines(
        served=[line for line in lines if line.content_class != OTHER],
        fetched=list(fetched),
        own=[line for line in lines if line.content_class == OTHER],
    )


def build_table(lines: Lines, months: Lines, prices: Prices, by: Sequence[str]) -> Table:
    """Return the table of `lines`; `months` has all lines of the months that they lie in."""
    is_whole = "outcome" not in by  # rows that say what was fetched and what it cost
    total, rows, metering = Figures(), dict[RowKey, Figures](), Metering(prices)
    parts, whole = _Volumes(), _Volumes()

    def row_of(key: RowKey) -> Figures:
        if key not in rows:
            rows[key] = Figures() if is_whole else Figures(fetched=None)
        return rows[key]

    for line in lines.served:
        key = _key(by, line.at, line.content_class, line.group, line.outcome)
        total.add_served(line)
        row_of(key).add_served(line)
        parts.add_sent(key if is_whole else (), line)
    for each in lines.fetched:
        total.add_fetched(each)
    for group, part in _by_group(lines) if "group" in by else (("", f) for f in lines.fetched):
        key = _key(by, part.at, part.content_class, group, "") if is_whole else ()
        if is_whole:
            row_of(key).add_fetched(part)
        parts.add_received(key, part)
    for line in months.served:
        whole.add_sent((), line)
    for each in months.fetched:
        whole.add_received((), each)
    for key, volume in parts.all():
        metering.add_part(key, volume)
    for _key_of_all, volume in whole.all():
        metering.add_month(volume)
    return Table(
        by=tuple(by),
        rows=tuple(_sorted(rows, by)),
        total=total,
        costs=metering.costs({key for key, _volume in parts.all()}),
        metering=metering,
    )


def _key(by: Sequence[str], at: int, content_class: str, group: str, outcome: str) -> RowKey:
    names = {
        "class": content_class,
        "group": group,
        "outcome": outcome,
        "upstream": UPSTREAM_OF_CLASS.get(content_class, OTHER),
    }
    return tuple(_TIMES[each](at) if each in _TIMES else names[each] for each in by)


class _Volumes:
    """Sums by row, month, class and place: a year of lines by the day comes to a few volumes, and
    a volume is dear (fractions, meters)."""

    def __init__(self) -> None:
        self._sent: defaultdict[_Place, list[int]] = defaultdict(lambda: [0, 0])
        self._received: defaultdict[_Place, list[int]] = defaultdict(lambda: [0, 0])
        self._months: dict[int, int] = {}

    def add_sent(self, key: RowKey, line: ServedLine) -> None:
        place = (key, self._month(line.at), line.content_class, line.group)
        _add(self._sent[place], line.columns)

    def add_received(self, key: RowKey, line: FetchedLine) -> None:
        place = (key, self._month(line.at), line.content_class, line.upstream)
        _add(self._received[place], line.columns)

    def all(self) -> Iterator[tuple[RowKey, Volume]]:
        """What was sent would have come from upstream, and passed the mirror's own way out."""
        yield from _volumes(self._sent, (Side.WITHOUT, Side.EGRESS))
        yield from _volumes(self._received, (Side.FETCHED,))

    def _month(self, at: int) -> int:
        found = self._months.get(at)
        if found is None:
            found = self._months[at] = month_of(at)
        return found


def _add(sums: list[int], columns: Mapping[str, int]) -> None:
    sums[0] += columns["content_bytes"]
    sums[1] += columns["requests"]


def _volumes(
    sums: Mapping[_Place, Sequence[int]], sides: Iterable[Side]
) -> Iterator[tuple[RowKey, Volume]]:
    for (key, month, content_class, place), (content_bytes, requests) in sums.items():
        for side in sides:
            yield (
                key,
                Volume(
                    side=side,
                    month=month,
                    content_class=content_class,
                    place=place,
                    content_bytes=content_bytes,
                    requests=requests,
                ),
            )


def _by_group(lines: Lines) -> Iterator[tuple[str, FetchedLine]]:
    """Yield the parts of what was fetched, each with its group; see rule 2."""
    in_step: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    in_span: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in lines.served:
        in_step[line.at, line.content_class][line.group] += line.columns["content_bytes"]
        in_span[line.content_class][line.group] += line.columns["content_bytes"]
    for each in lines.fetched:
        weights = in_step.get((each.at, each.content_class), Counter[str]())
        if not weights.total():
            weights = in_span.get(each.content_class, Counter[str]())
        if not weights.total():
            weights = Counter({OTHER: 1})
        parts = {
            column: divided(amount, dict(sorted(weights.items())))
            for column, amount in each.columns.items()
        }
        for group in sorted(weights):
            columns = {column: parts[column][group] for column in parts}
            yield group, replace(each, columns=columns)


def _sorted(rows: Mapping[RowKey, Figures], by: Sequence[str]) -> list[Row]:
    """Times run forward; other tables begin with the most bytes."""
    table = [Row(key=key, figures=figures) for key, figures in sorted(rows.items())]
    if not set(by) & set(TIMES):
        table.sort(key=lambda row: -row.figures.served_bytes)
    return table
