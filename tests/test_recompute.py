"""The script that works reports out again: small logs, figures by hand."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

import pytest

from benchmarks.recompute import Asked, recompute
from benchmarks.recompute_log import Log, LogError

HOUR = 1_763_802_000  # 2025-11-22 09:00 UTC
ASKED = Asked(since=HOUR, until=HOUR + 3600, now=HOUR + 1800, by=("class", "group"))
PRICES = """
[[price]]
name = "out"
payer = "upstream"
tiers = [{ up_to_gigabytes = 0.000001, price = 2 }, { price = 1 }]
[[price]]
name = "gateway"
payer = "us"
groups = ["a"]
tiers = [{ price = 3 }]
per_10000_requests = 0.5
"""


def request(**members: Any) -> dict[str, Any]:
    line: dict[str, Any] = {
        "type": "request", "date_time": "2025-11-22T09:01:00.000000Z", "status": 200,
        "bytes": 0, "head_bytes": 100, "class": "crate", "outcome": "hit", "group": "a",
        "complete": True, "weight": 1,
    }  # fmt: skip
    return line | members


def fetch(**members: Any) -> dict[str, Any]:
    line: dict[str, Any] = {
        "type": "fetch", "date_time": "2025-11-22T09:01:00.000000Z", "status": 200,
        "bytes": 0, "head_bytes": 50, "class": "crate", "upstream_url": "http://u",
        "attempt": 1, "error": "", "complete": True, "weight": 1,
    }  # fmt: skip
    return line | members


def figures_of(*lines: dict[str, Any]) -> dict[str, Any]:
    return recompute(Log(lines), tomllib.loads(PRICES, parse_float=Decimal), ASKED)


def test_saved_is_sent_less_fetched_and_may_be_negative() -> None:
    total = figures_of(request(bytes=300, outcome="miss"), fetch(bytes=500))["total"]
    assert (total["served_bytes"], total["fetched_bytes"], total["saved_bytes"]) == (300, 500, -200)
    assert total["saved_ratio"] == -0.6667


def test_refused_and_failed_requests_count_in_no_hit_ratio() -> None:
    outcomes = ("hit", "hit", "miss", "refused", "failed")
    total = figures_of(*(request(bytes=100, outcome=each) for each in outcomes))["total"]
    assert total["request_hit_ratio"] == total["byte_hit_ratio"] == 0.6667
    assert total["requests"] == 5


def test_what_has_no_class_is_told_apart() -> None:
    figures = figures_of(request(**{"class": "other"}, bytes=7), request(bytes=5))
    assert figures["own_answers"] == {"requests": 1, "served_bytes": 7}
    assert figures["total"]["served_bytes"] == 5


def test_fetches_are_divided_among_groups_by_what_they_took() -> None:
    rows = figures_of(
        request(bytes=100), request(bytes=200, group="b"), fetch(bytes=10), fetch(bytes=0)
    )["rows"]
    # 10 bytes by 1 to 2: 3.33 and 6.67, the left one goes to the larger remainder.
    assert rows["crate", "a"]["fetched_bytes"] == 3
    assert rows["crate", "b"]["fetched_bytes"] == 7
    assert rows["crate", "a"]["upstream_requests"] + rows["crate", "b"]["upstream_requests"] == 2


def test_bills_go_through_tiers_and_requests() -> None:
    total = figures_of(request(bytes=1_500), request(bytes=500, group="b"))["total"]
    # upstream: 1,000 bytes at 2 and 1,000 at 1 a gigabyte; us: 1,500 bytes at 3, and one request.
    assert total["payers"]["upstream"]["without_micro"] == 3
    assert total["payers"]["us"]["without_micro"] + 3 == total["without_micro"]
    assert total["without_micro"] == round(2 + 1 + 4.5 + 50)


def test_hours_and_upstreams_are_summed() -> None:
    figures = figures_of(
        fetch(status=429, error="status 429"), fetch(attempt=2, bytes=9), fetch(status=304)
    )
    assert figures["points"] == [
        {"at": "2025-11-22T09:00:00Z", "requests": 0, "served_bytes": 0, "fetched_bytes": 9}
    ]
    upstream = figures["upstreams"][0]
    names = ("requests", "throttled", "failed", "retried", "not_modified", "busiest_requests")
    assert [upstream[name] for name in names] == [3, 1, 1, 1, 1, 3]


def test_responses_that_never_began_are_none() -> None:
    assert figures_of(request(status=0, complete=False))["total"]["requests"] == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(request(weight=10), "sampled", id="sampled"),
        pytest.param(request(date_time="2025-11-22T08:00:00Z"), "an hour or more", id="too-long"),
    ],
)
def test_a_log_that_cannot_give_the_figures_is_refused(line: dict[str, Any], reason: str) -> None:
    with pytest.raises(LogError, match=reason):
        figures_of(line)
