"""Volumes by meter and month, and what they cost: in whole, per payer and per row of a report.

Rules:
1. A month's bill is that of the whole month's volume up to this moment; a row pays its share of it,
   in proportion to its bytes and (for prices of requests) its requests. So a report of a part of a
   month and one of the rest add up to the month, whatever tier the volume reached meanwhile.
2. Everything is exact until the end. There the total is rounded once, half to even, and payers and
   rows are shared out of it, so that they add up to it.

Units: micro-units of the currency.
Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from mirror.accounting.money import share_out
from mirror.accounting.prices import Meter, Prices, Side

RowKey = tuple[str, ...]
_SIDES = tuple(Side)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What one line of the ledger brings to the meters; `place` is a group, or a URL if fetched."""

    side: Side
    month: int
    content_class: str
    place: str
    content_bytes: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was avoided may be negative: the mirror cost more than it spared."""

    without_micro: int
    fetched_micro: int
    egress_micro: int

    @property
    def avoided_micro(self) -> int:
        return self.without_micro - self.fetched_micro - self.egress_micro


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    total: Cost
    payers: dict[str, Cost]
    rows: dict[RowKey, Cost]


_Slot = tuple[int, Side, str, str]  # month, side, payer, name of the meter


class Metering:
    """Add each volume of the months, and those of the report's rows; then ask for the costs."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._by_name = {meter.name: meter for meter in prices.meters}
        self._known: dict[tuple[Side, str, str], tuple[Meter, ...]] = {}
        self._whole: defaultdict[_Slot, list[int]] = defaultdict(lambda: [0, 0])
        self._parts: defaultdict[_Slot, dict[RowKey, list[int]]] = defaultdict(dict)
        # (payer, side, class) -> bytes of rows that no meter of the payer counts
        self.unpriced: Counter[tuple[str, Side, str]] = Counter()
        self.priced: Counter[tuple[str, Side, str]] = Counter()

    def add_month(self, volume: Volume) -> None:
        """Count a volume of a month that a row touches."""
        for meter in self._meters(volume):
            _add(self._whole[self._slot(volume, meter)], volume)

    def add_part(self, row: RowKey, volume: Volume) -> None:
        """Count a volume of a row; the month has it too."""
        meters = self._meters(volume)
        for meter in meters:
            _add(self._parts[self._slot(volume, meter)].setdefault(row, [0, 0]), volume)
            self.priced[meter.payer, volume.side, volume.content_class] += volume.content_bytes
        for payer in set(self._prices.payers) - {meter.payer for meter in meters}:
            self.unpriced[payer, volume.side, volume.content_class] += volume.content_bytes

    def costs(self, rows: Iterable[RowKey]) -> Costs:
        """Return the costs of `rows`, which are all that parts were added for."""
        ordered = sorted(rows)  # equal remainders go by name, whatever came first
        by_row: dict[Side, dict[RowKey, Fraction]] = {
            side: dict.fromkeys(ordered, Fraction(0)) for side in _SIDES
        }
        by_payer: dict[Side, dict[str, Fraction]] = {
            side: dict.fromkeys(self._prices.payers, Fraction(0)) for side in _SIDES
        }
        for slot, parts in self._parts.items():
            _month, side, payer, _name = slot
            for row, share in self._shares(slot, parts):
                by_row[side][row] += share
                by_payer[side][payer] += share
        totals = {side: round(sum(by_payer[side].values(), Fraction(0))) for side in _SIDES}
        row_shares = {side: share_out(totals[side], by_row[side]) for side in _SIDES}
        payer_shares = {side: share_out(totals[side], by_payer[side]) for side in _SIDES}
        return Costs(
            total=_cost(totals),
            payers={
                payer: _cost({side: payer_shares[side][payer] for side in _SIDES})
                for payer in self._prices.payers
            },
            rows={
                row: _cost({side: row_shares[side][row] for side in _SIDES})
                for row in by_row[Side.WITHOUT]
            },
        )

    def _shares(
        self, slot: _Slot, parts: dict[RowKey, list[int]]
    ) -> Iterable[tuple[RowKey, Fraction]]:
        meter = self._by_name[slot[3]]
        # Rows were read after the months, of a ledger that goes on counting: never above the whole.
        whole_bytes = max(self._whole[slot][0], sum(used[0] for used in parts.values()))
        whole_requests = max(self._whole[slot][1], sum(used[1] for used in parts.values()))
        content_cost = meter.content_cost(whole_bytes)
        requests_cost = meter.requests_cost(whole_requests)
        for row, (content_bytes, requests) in parts.items():
            share = Fraction(0)
            if content_bytes:
                share += content_cost * Fraction(content_bytes, whole_bytes)
            if requests:
                share += requests_cost * Fraction(requests, whole_requests)
            yield row, share

    def _meters(self, volume: Volume) -> tuple[Meter, ...]:
        key = (volume.side, volume.content_class, volume.place)
        found = self._known.get(key)
        if found is None:
            each = (self._prices.meter(payer, *key) for payer in self._prices.payers)
            found = self._known[key] = tuple(meter for meter in each if meter is not None)
        return found

    @staticmethod
    def _slot(volume: Volume, meter: Meter) -> _Slot:
        return volume.month, volume.side, meter.payer, meter.name


def _add(used: list[int], volume: Volume) -> None:
    used[0] += volume.content_bytes
    used[1] += volume.requests


def _cost(sides: dict[Side, int]) -> Cost:
    return Cost(
        without_micro=sides[Side.WITHOUT],
        fetched_micro=sides[Side.FETCHED],
        egress_micro=sides[Side.EGRESS],
    )
