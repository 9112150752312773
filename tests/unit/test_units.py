"""Sizes and durations are read exactly, and what is written reads back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.units import format_duration, format_size, parse_duration_s, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        pytest.param("4096", 4096, id="bare-number-is-bytes"),
        pytest.param("1B", 1, id="bytes"),
        pytest.param("512KiB", 512 << 10, id="kibibytes"),
        pytest.param("64 MiB", 64 << 20, id="one-space"),
        pytest.param("100GiB", 100 << 30, id="gibibytes"),
        pytest.param("1.5TiB", 3 << 39, id="fraction"),
    ],
)
def test_size_is_read(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GiB",
        "20GB",
        "20G",
        "-1GiB",
        "0",
        "0GiB",
        "0.1B",
        "1e9",
        "1 000",
        "٣GiB",
        "1GiB!",
        "nan",
    ],
)
def test_odd_size_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="KiB, MiB, GiB"):
        parse_size_bytes(text)


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        pytest.param("500ms", 0.5, id="milliseconds"),
        pytest.param("60s", 60, id="seconds"),
        pytest.param("10m", 600, id="minutes"),
        pytest.param("1.5h", 5400, id="fraction"),
        pytest.param("7d", 604800, id="days"),
    ],
)
def test_duration_is_read(text: str, duration_s: float) -> None:
    assert parse_duration_s(text) == duration_s


@pytest.mark.parametrize("text", ["", "60", "s", "0s", "-1s", "1w", "inf", "1M", "1 hour"])
def test_odd_duration_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="ms, s, m, h, d"):
        parse_duration_s(text)


def test_a_duration_may_be_zero_where_that_turns_something_off() -> None:
    assert parse_duration_s("0s", may_be_zero=True) == 0
    assert format_duration(0) == "0s"
    with pytest.raises(ValueError, match='or "0s"'):
        parse_duration_s("-1s", may_be_zero=True)


@given(st.integers(min_value=1, max_value=10**15 - 1))
def test_formatted_size_reads_back(size_bytes: int) -> None:
    assert parse_size_bytes(format_size(size_bytes)) == size_bytes


@given(st.integers(min_value=1, max_value=10**10))
def test_formatted_duration_reads_back(duration_ms: int) -> None:
    assert parse_duration_s(format_duration(duration_ms / 1000)) == pytest.approx(
        duration_ms / 1000, abs=1e-6
    )


def test_a_minute_is_written_in_seconds_and_a_week_in_days() -> None:
    assert [format_duration(s) for s in (0.5, 60, 600, 3600, 604800)] == [
        "500ms", "60s", "10m", "1h", "7d",
    ]  # fmt: skip
