"""Age and freshness."""

from __future__ import annotations

import math

import pytest

from mirror.http.freshness import CLOCK_SLACK_S, age_s, is_fresh, is_too_stale, ttl_s


@pytest.mark.parametrize(
    ("confirmed_at", "now", "expected"),
    [
        pytest.param(100.0, 100.9, 0, id="within-a-second"),
        pytest.param(100.0, 161.0, 61, id="a-minute"),
        pytest.param(100.0, 40.0, 0, id="clock-set-back"),
        pytest.param(0.0, 1e12, 2**31 - 1, id="beyond-31-bits"),
    ],
)
def test_age(confirmed_at: float, now: float, expected: int) -> None:
    assert age_s(confirmed_at, now) == expected


@pytest.mark.parametrize(
    ("fresh_until", "fresh", "ttl"),
    [
        pytest.param(160.0, True, 60, id="fresh"),
        pytest.param(100.5, True, 0, id="last-half-second"),
        pytest.param(100.0, False, 0, id="at-the-end"),
        pytest.param(40.0, False, -60, id="stale"),
        pytest.param(math.inf, True, None, id="for-ever"),
    ],
)
def test_freshness_at_one_hundred(fresh_until: float, fresh: bool, ttl: int | None) -> None:
    assert is_fresh(fresh_until, 100.0) is fresh
    assert ttl_s(fresh_until, 100.0) == ttl


@pytest.mark.parametrize(
    ("fresh_until", "set_back_s", "fresh"),
    [
        pytest.param(160.0, CLOCK_SLACK_S, True, id="a-little"),
        pytest.param(1e9, CLOCK_SLACK_S + 1, False, id="set-back"),
        pytest.param(math.inf, 1e9, True, id="for-ever"),
    ],
)
def test_a_clock_that_was_set_back_keeps_nothing_fresh(
    fresh_until: float, set_back_s: float, fresh: bool
) -> None:
    assert is_fresh(fresh_until, 100.0, confirmed_at=100.0 + set_back_s) is fresh


@pytest.mark.parametrize(
    ("fresh_until", "confirmed_at", "too_stale"),
    [
        pytest.param(90.0, 30.0, False, id="at-the-limit"),
        pytest.param(89.0, 29.0, True, id="beyond"),
        pytest.param(0.0, 95.0, False, id="marked-for-a-question"),
        pytest.param(math.inf, 1.0, False, id="for-ever"),
        pytest.param(500.0, 440.0, False, id="clock-set-back"),
    ],
)
def test_a_copy_stands_in_for_so_long(
    fresh_until: float, confirmed_at: float, too_stale: bool
) -> None:
    assert is_too_stale(fresh_until, confirmed_at, 100.0, limit_s=10.0) is too_stale
