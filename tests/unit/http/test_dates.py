"""HTTP dates, against the calendar of the standard library."""

from __future__ import annotations

import datetime
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.dates import format_http_date, parse_http_date

LAST_S = 253_402_300_799
SAMPLE_S = 784_111_777  # the date of RFC 9110's examples


@pytest.mark.parametrize(
    ("value", "unix_s"),
    [
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", SAMPLE_S, id="imf-fixdate"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", SAMPLE_S, id="rfc-850"),
        pytest.param("Sun Nov  6 08:49:37 1994", SAMPLE_S, id="asctime-padded-day"),
        pytest.param("Wed Nov 16 08:49:37 1994", SAMPLE_S + 864_000, id="asctime-two-digit-day"),
        pytest.param("Mon, 06 Nov 1994 08:49:37 GMT", SAMPLE_S, id="wrong-weekday"),
        pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", 0, id="epoch"),
        pytest.param("Wed, 31 Dec 1969 23:59:59 GMT", -1, id="before-the-epoch"),
        pytest.param("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400, id="leap-day-of-a-400th-year"),
        pytest.param("Thu, 29 Feb 2024 12:00:00 GMT", 1_709_208_000, id="leap-day"),
        pytest.param("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800, id="leap-second"),
        pytest.param("Thursday, 01-Jan-76 00:00:00 GMT", 3_345_062_400, id="two-digit-year-ahead"),
        pytest.param("Saturday, 01-Jan-77 00:00:00 GMT", 220_924_800, id="two-digit-year-past"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", LAST_S, id="last-second"),
    ],
)
def test_each_form_is_read(value: str, unix_s: int) -> None:
    assert parse_http_date(value) == unix_s
    assert parse_http_date(value.encode()) == unix_s


# 2026-11-22T12:00:00Z
NOON = 1_795_348_800.0


@pytest.mark.parametrize(
    ("value", "now", "year"),
    [
        pytest.param("Sunday, 22-Nov-26 12:00:00 GMT", NOON, 2026, id="this-year"),
        pytest.param("Sunday, 22-Nov-00 12:00:00 GMT", NOON, 2000, id="first-of-the-century"),
        pytest.param("Sunday, 22-Nov-76 12:00:00 GMT", NOON, 2076, id="exactly-50-years-ahead"),
        pytest.param("Sunday, 22-Nov-76 12:00:01 GMT", NOON, 1976, id="a-second-more"),
        pytest.param("Sunday, 23-Nov-76 00:00:00 GMT", NOON, 1976, id="a-day-more"),
        pytest.param("Sunday, 01-Dec-76 00:00:00 GMT", NOON, 1976, id="a-month-more"),
        pytest.param("Sunday, 01-Jan-77 00:00:00 GMT", NOON, 1977, id="a-year-more"),
        pytest.param("Sunday, 01-Jan-99 00:00:00 GMT", NOON, 1999, id="last-of-the-century"),
        pytest.param("Sunday, 01-Jan-77 00:00:00 GMT", NOON + 366 * 86_400, 2077, id="a-year-on"),
        pytest.param("Sunday, 28-Feb-74 00:00:00 GMT", 1_709_208_000.0, 2074, id="on-a-leap-day"),
        pytest.param("Sunday, 01-Mar-74 00:00:00 GMT", 1_709_208_000.0, 1974, id="after-it"),
    ],
)
def test_a_two_digit_year_is_never_more_than_50_years_ahead(
    value: str, now: float, year: int
) -> None:
    """RFC 9110 section 5.6.7."""
    found = parse_http_date(value, now=now)
    assert found is not None
    assert datetime.datetime.fromtimestamp(found, datetime.UTC).year == year


@given(now=st.integers(946_684_800, 4_102_444_799), year=st.integers(0, 99))
def test_the_century_is_the_latest_that_is_near_enough(now: int, year: int) -> None:
    found = parse_http_date(f"Sunday, 15-Jun-{year:02d} 00:00:00 GMT", now=float(now))
    today = datetime.datetime.fromtimestamp(now, datetime.UTC)
    candidate = datetime.datetime(today.year - today.year % 100 + year, 6, 15, tzinfo=datetime.UTC)
    limit = today.replace(year=today.year + 50, day=min(today.day, 28))
    if (candidate.month, candidate.year) != (limit.month, limit.year):  # that month is in the table
        if candidate > limit:
            candidate = candidate.replace(year=candidate.year - 100)
        assert found == candidate.timestamp()


def test_four_digits_need_no_century() -> None:
    assert parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT", now=NOON) == SAMPLE_S
    assert parse_http_date("Sun Nov  6 08:49:37 1994", now=NOON) == SAMPLE_S


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("0", id="number"),
        pytest.param("Sun, 06 Nov 1994 08:49:37", id="no-zone"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 UTC", id="other-zone"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 +0000", id="numeric-zone"),
        pytest.param("Sun, 6 Nov 1994 08:49:37 GMT", id="one-digit-day"),
        pytest.param("sun, 06 nov 1994 08:49:37 gmt", id="lower-case"),
        pytest.param("Xyz, 06 Nov 1994 08:49:37 GMT", id="unknown-weekday"),
        pytest.param("Sun, 06 Nox 1994 08:49:37 GMT", id="unknown-month"),
        pytest.param("Sun, 00 Nov 1994 08:49:37 GMT", id="day-zero"),
        pytest.param("Sun, 31 Nov 1994 08:49:37 GMT", id="day-31-of-november"),
        pytest.param("Wed, 29 Feb 2023 08:49:37 GMT", id="no-leap-year"),
        pytest.param("Thu, 29 Feb 1900 08:49:37 GMT", id="no-leap-day-in-1900"),
        pytest.param("Sun, 06 Nov 1994 24:00:00 GMT", id="hour-24"),
        pytest.param("Sun, 06 Nov 1994 08:60:00 GMT", id="minute-60"),
        pytest.param("Sun, 06 Nov 1994 08:49:61 GMT", id="second-61"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT ", id="trailing-space"),
        pytest.param(" Sun, 06 Nov 1994 08:49:37 GMT", id="leading-space"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT\n", id="trailing-line-end"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT ", id="trailing-space-rfc-850"),
        pytest.param("Sun Nov  6 08:49:37 19940", id="five-digit-year-asctime"),
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT, x", id="second-member"),
        pytest.param("Sun, \u0660\u0666 Nov 1994 08:49:37 GMT", id="unicode-digits"),
        pytest.param("Sun, 06 Nov 19940 08:49:37 GMT", id="five-digit-year"),
    ],
)
def test_what_is_no_http_date_is_none(value: str) -> None:
    assert parse_http_date(value) is None


@pytest.mark.parametrize(
    ("unix_s", "expected"),
    [
        pytest.param(SAMPLE_S, b"Sun, 06 Nov 1994 08:49:37 GMT", id="sample"),
        pytest.param(-5, b"Thu, 01 Jan 1970 00:00:00 GMT", id="clipped-below"),
        pytest.param(LAST_S + 1, b"Fri, 31 Dec 9999 23:59:59 GMT", id="clipped-above"),
    ],
)
def test_a_date_is_written_as_imf_fixdate(unix_s: int, expected: bytes) -> None:
    assert format_http_date(unix_s) == expected


@given(st.integers(min_value=0, max_value=LAST_S))
def test_what_is_written_agrees_with_the_standard_library_and_is_read_back(unix_s: int) -> None:
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=unix_s)
    written = format_http_date(unix_s)
    assert written.decode() == email.utils.format_datetime(moment, usegmt=True)
    assert parse_http_date(written) == unix_s


@given(st.datetimes())
def test_asctime_of_any_date_is_read_like_the_standard_library_does(
    moment: datetime.datetime,
) -> None:
    moment = moment.replace(microsecond=0, tzinfo=datetime.UTC)
    text = f"{moment:%a %b} {moment.day:2} {moment:%H:%M:%S} {moment.year:04}"
    assert parse_http_date(text) == int(moment.timestamp())


@given(st.binary(max_size=40))
def test_no_input_raises(value: bytes) -> None:
    parse_http_date(value)
