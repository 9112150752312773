"""Amounts for people: decimal sizes, percentages, dates, how sure a figure is.

Rules:
1. Sizes are decimal (1 TB = 10^12 bytes), as traffic is billed and spoken of; `status` shows disk
   sizes, which are binary.
2. What is not known is "-".

Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from typing import Final

from mirror.accounting.forecast import Growth, Projection

UNKNOWN: Final = "-"
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_COUNTS: Final = ((10**9, "billion"), (10**6, "million"))
BINARY_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def bytes_text(amount: float | None) -> str:
    """Return "45.2 TB": three digits and a unit."""
    return UNKNOWN if amount is None else _scaled(amount, 1000, _UNITS)


def disk_text(amount: float) -> str:
    """Return "100 GiB": disk sizes as the configuration writes them."""
    return _scaled(amount, 1024, BINARY_UNITS)


def count_text(amount: int | None) -> str:
    """Return all digits below a million, and three of them from there."""
    if amount is None:
        return UNKNOWN
    for size, word in _COUNTS:
        if abs(amount) >= size:
            return f"{amount / size:.{_digits(amount / size)}f} {word}"
    return f"{amount:,}"


def percent_text(ratio: float | None) -> str:
    """Return "97.3 %"; a ratio just below one is not rounded up to all."""
    if ratio is None:
        return UNKNOWN
    percent = ratio * 100
    if 99.95 <= percent < 100:
        return f"{int(percent * 100) / 100:.2f} %"
    return f"{round(percent, 1) + 0.0:.1f} %"  # + 0.0: no minus before nothing


def projection_text(projection: Projection | None) -> str:
    """Return a projected amount of bytes with its interval, or why there is none."""
    if projection is None:
        return "too early to tell"
    value = bytes_text(projection.value)
    if projection.low is None or projection.high is None:
        return f"{value} (too few days to say how surely)"
    return f"{value} ({bytes_text(projection.low)} to {bytes_text(projection.high)})"


def growth_text(growth: Growth | None) -> str:
    """Return the growth rate with its interval and how it was measured, in one sentence."""
    if growth is None:
        return "Too little history to tell growth: 8 whole weeks with traffic are needed."
    low, high = _signed(growth.low), _signed(growth.high)
    method = (
        "measured against the same weeks a year ago"
        if growth.method == "year_on_year"
        else f"the trend of {growth.samples} weeks stretched to a year"
    )
    sentence = f"{_signed(growth.ratio)} a year (95 % interval {low} to {high}; {method})."
    if growth.low <= 0 <= growth.high:
        sentence += " The interval holds zero: it may not grow at all."
    return sentence


def _signed(ratio: float) -> str:
    if ratio >= 10:  # +1,000 % says less than "x11"
        return f"x{min(ratio + 1, 1e6):,.0f}"
    return f"{ratio * 100:+.0f} %"


def _scaled(amount: float, base: int, units: tuple[str, ...]) -> str:
    size, unit = float(abs(amount)), 0
    while size >= base - 0.5 and unit < len(units) - 1:
        size, unit = size / base, unit + 1
    digits = 0 if unit == 0 else _digits(size)
    sign = "-" if amount < 0 and round(size, digits) else ""
    return f"{sign}{size:.{digits}f} {units[unit]}"


def _digits(size: float) -> int:
    return 0 if abs(size) >= 100 else 1 if abs(size) >= 10 else 2
