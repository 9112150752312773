"""Retry-After in both forms."""

from __future__ import annotations

import pytest

from mirror.http.dates import format_http_date
from mirror.http.retry_after import parse_retry_after

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param(b"7", 7.0, id="bytes"),
        pytest.param(" 7 ", 7.0, id="with-space"),
        pytest.param("0", 0.0, id="at-once"),
        pytest.param("0000000000000007", 7.0, id="leading-zeros"),
        pytest.param("86400", 30.0, id="capped"),
        pytest.param("9" * 5000, 30.0, id="attack-5000-digits"),
        pytest.param(format_http_date(int(NOW) + 20), 20.0, id="date"),
        pytest.param(format_http_date(int(NOW) - 20), 0.0, id="date-in-the-past"),
        pytest.param(format_http_date(int(NOW) + 9999), 30.0, id="date-capped"),
        pytest.param("", None, id="empty"),
        pytest.param("-1", None, id="negative"),
        pytest.param("1.5", None, id="fraction"),
        pytest.param("soon", None, id="word"),
        pytest.param("\u0667", None, id="unicode-digit"),
        pytest.param(b"\xff", None, id="not-ascii"),
    ],
)
def test_the_wait_is_bounded(value: str | bytes, wait_s: float | None) -> None:
    assert parse_retry_after(value, NOW, cap_s=30.0) == wait_s
