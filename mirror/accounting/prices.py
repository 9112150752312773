"""What traffic costs: meters with tiers, free allowances and a place on somebody's bill.

    a month's volume ──┬── without the mirror: what clients took, at what upstream would charge
                       ├── fetched: what the mirror took from upstream
                       └── egress: what the mirror sent, where sending costs its operator

Rules:
1. A meter bills whole calendar months of UTC: gigabytes through tiers, requests by ten thousand.
2. `others_bytes` is what the same bill carries each month without this mirror's clients: tiers and
   free allowance begin behind it, so that savings are priced at the margin and not at the top.
3. Per payer the first meter of the file that fits is the one that counts. Meters that name URLs fit
   only what is fetched, meters that name groups only what clients took.
4. Bills are exact fractions of micro-units; rounding is the reader's, once.

Units: bytes of content; heads are not billed here.
Does not: read files (`price_file`), know months (`costs`).
Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from mirror.accounting.layout import OTHER
from mirror.route.route import ContentClass

UPSTREAM_OF_CLASS = {
    ContentClass.RELEASE.value: "releases",
    ContentClass.RUSTUP.value: "releases",
    ContentClass.CRATE.value: "crates",
    ContentClass.INDEX.value: "index",
    OTHER: OTHER,
}
UPSTREAMS = ("releases", "crates", "index")
REQUESTS_UNIT = 10_000


class Side(enum.Enum):
    """Which volume is billed."""

    WITHOUT = "without"  # what upstream would have sent to our clients
    FETCHED = "fetched"
    EGRESS = "egress"


class MeterPath(enum.Enum):
    """Where a meter stands."""

    UPSTREAM = "upstream"  # on the way from upstream: avoided by not going there
    EGRESS = "egress"  # on the way from the mirror to its clients: a cost of running it


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """`up_to_bytes` is of the month's billable bytes; None: without end."""

    up_to_bytes: int | None
    micro_per_gigabyte: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One line of somebody's bill; empty `upstreams`, `groups`, `urls`: all of them."""

    name: str
    payer: str
    path: MeterPath
    upstreams: tuple[str, ...]
    groups: tuple[str, ...]
    urls: tuple[str, ...]
    gigabyte_bytes: int
    tiers: tuple[Tier, ...]
    free_bytes: int
    others_bytes: int
    micro_per_10000_requests: int
    free_requests: int
    others_requests: int
    source: str
    as_of: str  # a date, as the file gives it

    def content_cost(self, content_bytes: int) -> Fraction:
        """Return what a month's bytes cost, in micro-units, on top of what others use."""
        return self._tiered(self.others_bytes + content_bytes) - self._tiered(self.others_bytes)

    def requests_cost(self, requests: int) -> Fraction:
        """Return what a month's requests cost, in micro-units, on top of what others ask."""
        before = max(0, self.others_requests - self.free_requests)
        after = max(0, self.others_requests + requests - self.free_requests)
        return Fraction((after - before) * self.micro_per_10000_requests, REQUESTS_UNIT)

    def fits(self, side: Side, upstream: str, place: str) -> bool:
        """Tell whether a volume passes here; `place` is a group, or a URL of what is fetched."""
        if (self.path is MeterPath.EGRESS) != (side is Side.EGRESS):
            return False
        if self.upstreams and upstream not in self.upstreams:
            return False
        if side is Side.FETCHED:
            return not self.groups and (not self.urls or place in self.urls)
        return not self.urls and (not self.groups or place in self.groups)

    def _tiered(self, content_bytes: int) -> Fraction:
        left = max(0, content_bytes - self.free_bytes)
        begin, weighted = 0, 0
        for tier in self.tiers:
            end = left if tier.up_to_bytes is None else min(left, tier.up_to_bytes)
            weighted += max(0, end - begin) * tier.micro_per_gigabyte
            begin = max(begin, end)
        return Fraction(weighted, self.gigabyte_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A price file; `is_example`: the one that comes along, which nobody has looked at."""

    currency: str
    meters: tuple[Meter, ...]
    is_example: bool

    @property
    def payers(self) -> tuple[str, ...]:
        """Return the payers in the order of the file."""
        return tuple(dict.fromkeys(meter.payer for meter in self.meters))

    def meter(self, payer: str, side: Side, content_class: str, place: str) -> Meter | None:
        """Return the payer's meter that counts the volume; None: it has none for it."""
        upstream = UPSTREAM_OF_CLASS.get(content_class, OTHER)
        fitting = (m for m in self.meters if m.payer == payer and m.fits(side, upstream, place))
        return next(fitting, None)

    def unknown_names(self, groups: Iterable[str], urls: Iterable[str]) -> Iterator[str]:
        """Yield a sentence per name that no traffic can have: it is a slip of the pen."""
        known = {"groups": {*groups, OTHER}, "urls": {*urls, OTHER}}
        for meter in self.meters:
            for key, names in (("groups", meter.groups), ("urls", meter.urls)):
                for name in sorted(set(names) - known[key]):
                    yield f"{meter.name!r} of the price file names {key} that nobody has: {name!r}"
