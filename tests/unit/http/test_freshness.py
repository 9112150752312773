"""Age and freshness."""

from __future__ import annotations

import math

import pytest

from mirror.http.freshness import age_s, is_fresh, ttl_s


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
