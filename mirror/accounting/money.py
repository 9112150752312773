"""Money as whole micro-units of a currency: exact sums, no rounding on the way.

Rules:
1. An amount is an `int` of millionths of the currency's unit; a price has at most six decimals.
2. What is shared out adds up to what was shared: the largest remainders get what is left over.

Units: `_micro`, millionths of one unit of a currency.
Does not: convert between currencies.
Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar

Name = TypeVar("Name")

MICRO = 1_000_000
# A price per gigabyte or per 10,000 requests: more is a slip of the pen in any currency.
MAX_PRICE = 1_000_000


def price_micro(amount: int | Decimal) -> int:
    """Return a price in micro-units.

    Raises: ValueError, saying what is allowed, for one that is negative, too big or too fine.
    """
    exact = Decimal(amount)
    if not exact.is_finite() or not 0 <= exact <= MAX_PRICE:
        raise ValueError(f"a price from 0 to {MAX_PRICE:,}")
    micro = exact * MICRO
    if micro != micro.to_integral_value():
        raise ValueError("a price with at most six decimals")
    return int(micro)


def share_out(whole_micro: int, shares: Mapping[Name, Fraction]) -> dict[Name, int]:
    """Return `shares` in whole micro-units that add up to `whole_micro`.

    `shares` must add up to it but for less than one micro-unit each; equal remainders go by order.
    """
    floors = {name: share.numerator // share.denominator for name, share in shares.items()}
    left = whole_micro - sum(floors.values())
    by_remainder = sorted(shares, key=lambda name: floors[name] - shares[name])
    for name in by_remainder[: max(0, left)]:
        floors[name] += 1
    return floors


def divided(whole: int, weights: Mapping[Name, int]) -> dict[Name, int]:
    """Divide a whole number in proportion to `weights`, of which one at least is above zero."""
    total = sum(weights.values())
    parts = {name: divmod(whole * weight, total) for name, weight in weights.items()}
    floors = {name: floor for name, (floor, _rest) in parts.items()}
    left = whole - sum(floors.values())
    if left:
        for name in sorted(parts, key=lambda name: -parts[name][1])[:left]:
            floors[name] += 1
    return floors


def money_text(micro: int, currency: str) -> str:
    """Return an amount for people: two decimals, and more while it is below one hundredth."""
    size = Decimal(abs(micro)) / MICRO
    digits = 2 if size >= Decimal("0.01") or not micro else 6
    sign = "-" if micro < 0 and round(size, digits) else ""
    return f"{sign}{size:,.{digits}f} {currency}"
