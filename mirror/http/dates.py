"""HTTP dates: the three forms of RFC 9110 section 5.6.7, read; the one form, written.

Rules:
1. A field value that is not exactly one of the three forms is None, never a guess.
2. The name of the weekday must exist but is not compared with the date: a recipient gains nothing
   by refusing an otherwise exact date (section 5.6.7 asks for robust parsers).
3. A two-digit year is of the century of `now`; what then lies more than 50 years ahead is of the
   one before (section 5.6.7). Without `now`, years from 77 on are 19xx: no Rust file is older than
   2010, so no upstream's date depends on it.

Units: Unix seconds, UTC. Does not use `datetime` or `email.utils`: both accept far more than HTTP
does ("Sun, 6 Nov 94", time zones, comments).

Runs in: both. Pure.
"""

from __future__ import annotations

import re
from typing import Final

_DAY_NAMES: Final = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTH_NAMES: Final = (
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
)  # fmt: skip
_MONTHS: Final = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_MONTH_LENGTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_TWO_DIGITS: Final = tuple(b"%02d" % number for number in range(100))

_PIVOT_YEAR: Final = 77
_AHEAD_YEARS: Final = 50
_DAY_S: Final = 86_400
_LAST_S: Final = 253_402_300_799  # 9999-12-31T23:59:59Z: a fifth digit of the year has no form

_TIME = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_MONTH = rb"(?P<month>" + b"|".join(_MONTH_NAMES) + rb")"
_SHORT_DAY = rb"(?:" + b"|".join(_DAY_NAMES) + rb")"
_LONG_DAY = rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"

_IMF_FIXDATE: Final = re.compile(
    _SHORT_DAY + rb", (?P<day>[0-9]{2}) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _TIME + rb" GMT"
)
_RFC_850: Final = re.compile(
    _LONG_DAY + rb", (?P<day>[0-9]{2})-" + _MONTH + rb"-(?P<year>[0-9]{2}) " + _TIME + rb" GMT"
)
_ASCTIME: Final = re.compile(
    _SHORT_DAY + rb" " + _MONTH + rb" (?P<day>[0-9]{2}| [0-9]) " + _TIME + rb" (?P<year>[0-9]{4})"
)


def parse_http_date(value: str | bytes, *, now: float | None = None) -> int | None:
    """Return the Unix time that `value` names, or None when it is no HTTP-date."""
    raw = value.encode("utf-8", "replace") if isinstance(value, str) else value
    found = _IMF_FIXDATE.fullmatch(raw) or _RFC_850.fullmatch(raw) or _ASCTIME.fullmatch(raw)
    if found is None:
        return None
    second = _second_of_day(int(found["hour"]), int(found["minute"]), int(found["second"]))
    if second is None:
        return None
    year, month, day = int(found["year"]), _MONTHS[found["month"]], int(found["day"])
    if len(found["year"]) == 4:
        return _unix_time(year, month, day, second)
    if now is None:
        return _unix_time(year + (1900 if year >= _PIVOT_YEAR else 2000), month, day, second)
    return _of_two_digits(year, month, day, second, now)


def format_http_date(unix_s: int) -> bytes:
    """Write `unix_s` (0 up to the end of the year 9999, else clipped) as an IMF-fixdate."""
    unix_s = min(max(unix_s, 0), _LAST_S)
    days, second = divmod(unix_s, _DAY_S)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    year, month, day = _civil_date(days)
    return b"%b, %b %b %04d %b:%b:%b GMT" % (
        _DAY_NAMES[(days + 3) % 7],  # 1970-01-01 was a Thursday
        _TWO_DIGITS[day],
        _MONTH_NAMES[month - 1],
        year,
        _TWO_DIGITS[hour],
        _TWO_DIGITS[minute],
        _TWO_DIGITS[second],
    )


def _second_of_day(hour: int, minute: int, second: int) -> int | None:
    # Second 60 is a leap second (the grammar allows it); Unix time counts it as the next second.
    if hour > 23 or minute > 59 or second > 60:
        return None
    return hour * 3600 + minute * 60 + second


def _of_two_digits(year: int, month: int, day: int, second: int, now: float) -> int | None:
    """The time of a two-digit year as who reads it at `now` must take it."""
    this_year, this_month, this_day = _civil_date(int(now) // _DAY_S)
    year += this_year - this_year % 100
    # Compared field by field: 50 years after 29 February there may be no such day.
    written = (year, month, day, second)
    latest = (this_year + _AHEAD_YEARS, this_month, this_day, int(now) % _DAY_S)
    return _unix_time(year - 100 if written > latest else year, month, day, second)


def _unix_time(year: int, month: int, day: int, second: int) -> int | None:
    days = _days_since_epoch(year, month, day)
    return None if days is None else days * _DAY_S + second


def _days_since_epoch(year: int, month: int, day: int) -> int | None:
    """Days from 1970-01-01 in the proleptic Gregorian calendar; None for a day that never was."""
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= day <= _MONTH_LENGTHS[month - 1] or (month == 2 and day == 29 and not is_leap):
        return None
    # The year begins in March here, so that the leap day is its last.
    march_year = year - (month <= 2)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    leap_days = march_year // 4 - march_year // 100 + march_year // 400
    return march_year * 365 + leap_days + day_of_year - 719_468


def _civil_date(days: int) -> tuple[int, int, int]:
    """Year, month and day of a day number: the inverse of `_days_since_epoch`."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = march_month + 3 if march_month < 10 else march_month - 9
    return era * 400 + year_of_era + (month <= 2), month, day
