"""Money as the script of `recompute` works it out: a price file applied to the lines of a log.

Rules:
1. Nothing of the mirror is imported; the comments of the price file say what its keys mean.
2. A part of a month owes its share of the bill of the month so far, by bytes and by requests.
3. Exact fractions to the end; there the whole is rounded once and shared out. Only limits given in
   gigabytes are whole bytes first.

Units: millionths of the price file's currency. Runs in: command, tests.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks.recompute_log import POOL_OF_CLASS, Key, Log, fetched_by_group, row_key, share_out

SIDES = ("without", "fetched", "egress")


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What one row brings to the bill; `place` is a client group, or the URL of what is fetched."""

    row: Key
    side: str
    pool: str
    place: str
    content_bytes: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """All in whole, by payer and by row: what was avoided, and what that is the difference of."""

    total: dict[str, int]
    payers: dict[str, dict[str, int]]
    rows: dict[Key, dict[str, int]]


def costs_of(part: Log, month: Log, prices: Mapping[str, Any], by: tuple[str, ...]) -> Costs:
    """What a part of one month costs: its share of the month's bill."""
    payers = list(dict.fromkeys(table["payer"] for table in prices["price"]))
    of_part, of_month = list(_volumes(part, by)), list(_volumes(month, ()))
    rows = sorted({volume.row for volume in of_part})  # equal remainders go by name
    totals: dict[str, int] = {}
    by_payer: dict[str, dict[str, int]] = {payer: {} for payer in payers}
    by_row: dict[Key, dict[str, int]] = {row: {} for row in rows}
    for side in SIDES:
        in_payer, in_row = dict.fromkeys(payers, Fraction(0)), dict.fromkeys(rows, Fraction(0))
        for payer in payers:
            tables = [table for table in prices["price"] if table["payer"] == payer]
            whole = _billed(tables, side, of_month)
            for number, volume in _metered(tables, side, of_part):
                cost = _share(tables[number], whole[number], volume)
                in_payer[payer] += cost
                in_row[volume.row] += cost
        totals[side] = round(sum(in_payer.values(), Fraction(0)))
        for payer, amount in share_out(totals[side], in_payer).items():
            by_payer[payer][side] = amount
        for row, amount in share_out(totals[side], in_row).items():
            by_row[row][side] = amount
    return Costs(
        total=_named(totals),
        payers={payer: _named(sides) for payer, sides in by_payer.items()},
        rows={row: _named(sides) for row, sides in by_row.items()},
    )


def _named(sides: Mapping[str, int]) -> dict[str, int]:
    return {
        **{f"{side}_micro": sides[side] for side in SIDES},
        "avoided_micro": sides["without"] - sides["fetched"] - sides["egress"],
    }


def _volumes(log: Log, by: tuple[str, ...]) -> Iterator[Volume]:
    for line in log.served:
        if line["class"] == "other":
            continue
        for side in ("without", "egress"):
            yield Volume(
                row=row_key(by, line["class"], line["group"]),
                side=side,
                pool=POOL_OF_CLASS[line["class"]],
                place=line["group"],
                content_bytes=line["bytes"],
                requests=1,
            )
    for group, url, content_class, columns in fetched_by_group(log, by):
        yield Volume(
            row=row_key(by, content_class, group),
            side="fetched",
            pool=POOL_OF_CLASS[content_class],
            place=url,
            content_bytes=columns["content_bytes"],
            requests=columns["requests"],
        )


def _metered(
    tables: list[Any], side: str, volumes: Iterable[Volume]
) -> Iterator[tuple[int, Volume]]:
    """Yield each volume of a side with the first of a payer's tables that fits it."""
    for volume in volumes:
        if volume.side == side:
            fitting = (n for n, table in enumerate(tables) if _fits(table, volume))
            if (number := next(fitting, None)) is not None:
                yield number, volume


def _billed(tables: list[Any], side: str, volumes: list[Volume]) -> dict[int, tuple[int, int]]:
    used: Counter[int] = Counter()
    asked: Counter[int] = Counter()
    for number, volume in _metered(tables, side, volumes):
        used[number] += volume.content_bytes
        asked[number] += volume.requests
    return {number: (used[number], asked[number]) for number in asked}


def _fits(table: Mapping[str, Any], volume: Volume) -> bool:
    if (table.get("path", "upstream") == "egress") != (volume.side == "egress"):
        return False
    if table.get("upstreams") and volume.pool not in table["upstreams"]:
        return False
    urls, groups = table.get("urls", []), table.get("groups", [])
    if volume.side == "fetched":
        return not groups and (not urls or volume.place in urls)
    return not urls and (not groups or volume.place in groups)


def _share(table: Mapping[str, Any], whole: tuple[int, int], volume: Volume) -> Fraction:
    """What a volume owes of the bill of the whole month."""
    cost = Fraction(0)
    gigabyte = {"GB": 10**9, "GiB": 2**30}[table.get("gigabyte", "GB")]
    if volume.content_bytes:
        others = round(table.get("others_gigabytes", 0) * gigabyte)
        month = _tiered(table, others + whole[0], gigabyte) - _tiered(table, others, gigabyte)
        cost += month * Fraction(volume.content_bytes, whole[0])
    if volume.requests:
        others, free = table.get("others_requests", 0), table.get("free_requests", 0)
        billed = max(0, others + whole[1] - free) - max(0, others - free)
        price = Fraction(table.get("per_10000_requests", 0)) * 10**6
        cost += billed * price / 10_000 * Fraction(volume.requests, whole[1])
    return cost


def _tiered(table: Mapping[str, Any], amount: int, gigabyte: int) -> Fraction:
    left = max(0, amount - round(table.get("free_gigabytes", 0) * gigabyte))
    cost, begin = Fraction(0), 0
    for tier in table["tiers"]:
        most = tier.get("up_to_gigabytes")
        end = left if most is None else min(left, round(most * gigabyte))
        cost += Fraction(max(0, end - begin), gigabyte) * Fraction(tier["price"]) * 10**6
        begin = max(begin, end)
    return cost


def read_prices(path: Path) -> dict[str, Any]:
    """Read a price file; decimals stay exact."""
    return tomllib.loads(path.read_text(), parse_float=Decimal)
