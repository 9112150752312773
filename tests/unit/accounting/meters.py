"""Meters for tests: one price for everything, unless told otherwise.

Runs in: pytest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mirror.accounting.prices import Meter, MeterPath, Prices, Tier

GB = 10**9
FLAT = Meter(
    name="flat",
    payer="upstream",
    path=MeterPath.UPSTREAM,
    upstreams=(),
    groups=(),
    urls=(),
    gigabyte_bytes=GB,
    tiers=(Tier(up_to_bytes=None, micro_per_gigabyte=100_000),),
    free_bytes=0,
    others_bytes=0,
    micro_per_10000_requests=0,
    free_requests=0,
    others_requests=0,
    source="",
    as_of="",
)


def meter(**changes: Any) -> Meter:
    return replace(FLAT, **changes)


def prices(*meters: Meter) -> Prices:
    return Prices(currency="USD", meters=meters or (FLAT,), is_example=False)


def tiers(*rows: tuple[int | None, int]) -> tuple[Tier, ...]:
    """Return tiers of (end in gigabytes, micro-units per gigabyte)."""
    return tuple(
        Tier(up_to_bytes=None if end is None else end * GB, micro_per_gigabyte=micro)
        for end, micro in rows
    )
