"""Where figures go: the month's projection, and growth from year to year, with their uncertainty.

Rules:
1. Only complete days count; the day on which counting began is not one.
2. Projection: what the month has so far, and for each day that is left the mean of its weekday over
   the last 28 days (with less than 14 days: the mean of all). The interval is that of a prediction
   at 95 %: scatter of single days around those means, and the doubt about the means.
3. Growth, with a year of history: the last 28 days against the same weekdays 52 weeks before, as
   the mean of 28 logarithms of ratios. Without: a line through the logarithms of the last whole
   weeks, 8 at least and 53 at most, stretched to a year. The interval at 95 % is Student's t on an
   effective number of samples: neighbours that are alike (lag-1 autocorrelation) count less.
4. Where there is too little to tell, there is no figure rather than a wrong one.

Does not: know holidays, releases or campaigns; it says how sure the past makes it, no more.
Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Final

from mirror.accounting.days import DAY_S, days_between, floor_to, month_after, month_of
from mirror.accounting.history import Step

MEAN_DAYS: Final = 28  # four of each weekday
WEEKDAY_DAYS: Final = 14  # two of each: the least that shows scatter
MIN_DAYS: Final = 3  # the least for an interval
MIN_WEEKS: Final = 8
MAX_WEEKS: Final = 53
YEAR_S: Final = 364 * DAY_S  # 52 weeks: the same weekday
YEARS_NEEDED_S: Final = YEAR_S + MEAN_DAYS * DAY_S
_WEEKS_A_YEAR: Final = 365.2425 / 7
_Z: Final = NormalDist().inv_cdf(0.975)
_MAX_EXPONENT: Final = 20.0  # a growth of e^20 a year is said to be that, and no overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A sum to the end of the month; `low` and `high` None: too few days for an interval."""

    value: float
    low: float | None
    high: float | None
    days_used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A ratio of 0.25 is 25 % more a year; `method` is "year_on_year" or "trend"."""

    method: str
    ratio: float
    low: float
    high: float
    samples: int


def project(
    days: Mapping[int, float], first_at: float, now: float, *, may_fall: bool = False
) -> Projection | None:
    """Return the month's sum as it will be; None: no complete day, and less than an hour so far.

    `days` maps midnights to amounts, today's so far included; absent days had nothing. `may_fall`:
    amounts may be below zero; if not, the sum never ends below what it is.
    """
    today, month_end = floor_to(now, Step.DAY), month_after(now)
    so_far = sum(amount for at, amount in days.items() if month_of(now) <= at <= today)
    used = _complete_days(first_at, today, MEAN_DAYS)
    # The rest of today counts as the part of a day that it is.
    ahead = dict.fromkeys(days_between(today + DAY_S, month_end), 1.0)
    ahead[today] = 1.0 - (now - today) / DAY_S
    if not used:
        counted_s = now - first_at
        if counted_s < Step.HOUR.value:
            return None
        rate = sum(days.values()) / counted_s
        return Projection(
            value=so_far + rate * DAY_S * sum(ahead.values()), low=None, high=None, days_used=0
        )
    amounts = {at: float(days.get(at, 0)) for at in used}
    by_weekday = len(used) >= WEEKDAY_DAYS
    means = _means(amounts, by_weekday=by_weekday)
    value = so_far + sum(means[_weekday(at)] * part for at, part in ahead.items())
    half = _half_width(amounts, means, sum(ahead.values()), 7 if by_weekday else 1)
    low, high = (None, None) if half is None else (value - half, value + half)
    if low is not None and not may_fall:
        low = max(low, so_far)
    return Projection(value=value, low=low, high=high, days_used=len(used))


def growth(days: Mapping[int, float], first_at: float, now: float) -> Growth | None:
    """Return how the daily amounts grow per year; None: too little history."""
    today = floor_to(now, Step.DAY)
    used = _complete_days(first_at, today, MEAN_DAYS)
    if len(used) == MEAN_DAYS and used[0] - YEAR_S >= _first_complete(first_at):
        pairs = [(days.get(at, 0), days.get(at - YEAR_S, 0)) for at in used]
        if all(after > 0 and before > 0 for after, before in pairs):
            logs = [math.log(after / before) for after, before in pairs]
            return _growth("year_on_year", fmean(logs), _spread(logs), logs, unknowns=1)
    return _trend(days, first_at, today)


def t_quantile(freedom: float) -> float:
    """Return Student's t for a two-sided interval at 95 %: Cornish and Fisher's expansion.

    Off by less than 1 % from three degrees of freedom.
    """
    z, v = _Z, freedom
    first = (z**3 + z) / (4 * v)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    return z + first + second + third


def _trend(days: Mapping[int, float], first_at: float, today: int) -> Growth | None:
    begin = max(_first_complete(first_at), today - MAX_WEEKS * 7 * DAY_S)
    weeks = (today - begin) // (7 * DAY_S)
    sums = [
        sum(days.get(at, 0) for at in days_between(end - 7 * DAY_S, end))
        for end in (today - back * 7 * DAY_S for back in reversed(range(weeks)))
    ]
    if weeks < MIN_WEEKS or not all(sums):
        return None
    logs = [math.log(each) for each in sums]
    middle, mean = (weeks - 1) / 2, fmean(logs)
    spread = sum((at - middle) ** 2 for at in range(weeks))
    slope = sum((at - middle) * (log - mean) for at, log in enumerate(logs)) / spread
    rests = [log - mean - slope * (at - middle) for at, log in enumerate(logs)]
    error = math.sqrt(sum(rest**2 for rest in rests) / (weeks - 2) / spread)
    scale = _WEEKS_A_YEAR
    return _growth("trend", slope * scale, error * scale * math.sqrt(weeks), rests, unknowns=2)


def _growth(
    method: str, mean: float, spread: float, rests: Sequence[float], *, unknowns: int
) -> Growth:
    """`spread` is what one sample scatters by; the mean of n scatters by spread / sqrt(n)."""
    count = len(rests)
    alike = min(max(_autocorrelation(rests), 0.0), 0.9)
    effective = max(count * (1 - alike) / (1 + alike), unknowns + MIN_DAYS)
    half = t_quantile(effective - unknowns) * spread / math.sqrt(min(effective, count))
    return Growth(
        method=method,
        ratio=_ratio_of(mean),
        low=_ratio_of(mean - half),
        high=_ratio_of(mean + half),
        samples=count,
    )


def _half_width(
    amounts: Mapping[int, float], means: Mapping[int, float], ahead_days: float, unknowns: int
) -> float | None:
    count = len(amounts)
    if count < MIN_DAYS:
        return None
    square = sum((amount - means[_weekday(at)]) ** 2 for at, amount in amounts.items())
    variance = square / (count - unknowns)
    # Each mean stands on count / unknowns days, and is used for its part of the days ahead.
    doubt = ahead_days + ahead_days**2 / count
    return t_quantile(count - unknowns) * math.sqrt(variance * doubt)


def _means(amounts: Mapping[int, float], *, by_weekday: bool) -> dict[int, float]:
    whole = fmean(amounts.values())
    if not by_weekday:
        return dict.fromkeys(range(7), whole)
    return {
        weekday: fmean(amount for at, amount in amounts.items() if _weekday(at) == weekday)
        for weekday in range(7)
    }


def _complete_days(first_at: float, today: int, most: int) -> list[int]:
    begin = max(_first_complete(first_at), today - most * DAY_S)
    return list(days_between(begin, today))


def _first_complete(first_at: float) -> int:
    return -floor_to(-first_at, Step.DAY)


def _weekday(at: int) -> int:
    return (at // DAY_S + 3) % 7  # the first day of 1970 was a Thursday


def _spread(samples: Sequence[float]) -> float:
    mean = fmean(samples)
    return math.sqrt(sum((each - mean) ** 2 for each in samples) / (len(samples) - 1))


def _autocorrelation(samples: Sequence[float]) -> float:
    mean = fmean(samples)
    rests = [each - mean for each in samples]
    square = sum(rest**2 for rest in rests)
    if square < 1e-18 * len(rests):  # a straight line: nothing scatters
        return 0.0
    return sum(a * b for a, b in itertools.pairwise(rests)) / square


def _ratio_of(exponent: float) -> float:
    return round(math.expm1(max(-_MAX_EXPONENT, min(_MAX_EXPONENT, exponent))), 4)
