"""`mirror.accounting.report` and its document: figures by hand, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from mirror.accounting.days import DAY_S, span_of
from mirror.accounting.history import CurvePoint, ObjectLine, ServedLine, Step
from mirror.accounting.price_file import load_prices
from mirror.accounting.prices import MeterPath, Prices
from mirror.accounting.report import Report, ReportRequest, build_report
from mirror.accounting.report_document import document_of
from mirror.accounting.report_sections import facts_of
from tests.unit.accounting.fake_history import CRATES, HOUR_S, RELEASES, FakeHistory, traffic
from tests.unit.accounting.meters import GB, meter, prices, tiers

NOW = int(datetime(2026, 11, 22, 15, tzinfo=UTC).timestamp())
TODAY = NOW // DAY_S * DAY_S


def _report(
    history: FakeHistory, table: Prices | None = None, days: float = 30, **changes: Any
) -> Report:
    step = Step.DAY if days >= 2 else Step.HOUR
    request = ReportRequest(span=span_of(NOW - days * DAY_S, NOW, step), now=NOW)
    return build_report(history, table or prices(), replace(request, **changes))


def _codes(report: Report) -> set[str]:
    return {note.code for note in report.notes}


@pytest.fixture
def small() -> FakeHistory:
    history = FakeHistory(began_at=TODAY - 100 * DAY_S)
    at = TODAY - 3 * DAY_S
    history.serve(at, "crate", "hit", "ci", requests=90, content_bytes=9 * GB, head_bytes=900)
    history.serve(at, "crate", "miss", "ci", requests=10, content_bytes=GB, head_bytes=100)
    history.serve(at, "release", "collapsed", content_bytes=4 * GB, ranged=1)
    history.serve(at, "index", "revalidated", requests=5, content_bytes=0, not_modified=5)
    history.serve(at, "release", "failed", requests=2, content_bytes=GB, cut=2)
    history.serve(at, "other", "refused", requests=3, content_bytes=60)
    history.fetch(at, "crate", requests=10, content_bytes=GB, throttled=2, retried=3, head_bytes=7)
    history.fetch(at + DAY_S, "release", requests=1, content_bytes=4 * GB, failed=1)
    history.serve(TODAY - 90 * DAY_S, "crate", content_bytes=10**15)  # before the span
    return history


def test_figures_are_those_of_the_lines(small: FakeHistory) -> None:
    total = document_of(_report(small))["total"]
    assert total["requests"] == 108
    assert total["served_bytes"] == 15 * GB
    assert total["fetched_bytes"] == 5 * GB
    assert total["saved_bytes"] == 10 * GB
    assert total["spared_requests"] == 97
    assert (total["head_bytes"], total["fetched_head_bytes"]) == (1000, 7)
    assert (total["ranged"], total["not_modified"], total["cut"]) == (1, 5, 2)
    # Answered were 106; 95 of them, and 9 of 14 GB, from here.
    assert total["request_hit_ratio"] == round(95 / 106, 4)
    assert total["byte_hit_ratio"] == round(9 / 14, 4)
    assert total["saved_ratio"] == round(10 / 15, 4)
    assert total["avoided_micro"] == 10 * 100_000
    assert total["outcomes"] == {
        "collapsed": 1,
        "failed": 2,
        "hit": 90,
        "miss": 10,
        "revalidated": 5,
    }


def test_not_quite_all_is_not_all() -> None:
    history = FakeHistory()
    history.serve(TODAY - DAY_S, "crate", "hit", requests=124_737, content_bytes=10**9)
    history.serve(TODAY - DAY_S, "crate", "miss", requests=3, content_bytes=10)
    history.fetch(TODAY - DAY_S, "crate", requests=3, content_bytes=0)
    total = document_of(_report(history))["total"]
    assert total["request_hit_ratio"] == total["byte_hit_ratio"] == 0.9999
    assert total["saved_ratio"] == 1.0


class _Asked(FakeHistory):
    """Notes how far back lines were asked for."""

    earliest = NOW

    def served(self, since: float, until: float, step: Step) -> Sequence[ServedLine]:
        self.earliest = min(self.earliest, int(since))
        return super().served(since, until, step)


def test_growth_over_years_reads_no_lines_of_years() -> None:
    """Of 64 groups a year of lines takes a gigabyte; of a month, what a month takes."""
    year = traffic(NOW, 420)
    history = _Asked(served_lines=year.served_lines, fetched_lines=year.fetched_lines)
    history.began_at = year.began_at
    report = build_report(
        history, prices(), ReportRequest(span=span_of(NOW - DAY_S, NOW, Step.DAY), now=NOW)
    )
    assert report.growth is not None
    assert report.growth.method == "year_on_year"
    assert history.earliest == TODAY - 28 * DAY_S


def test_what_the_mirror_answers_itself_is_apart(small: FakeHistory) -> None:
    assert document_of(_report(small))["own_answers"] == {"requests": 3, "served_bytes": 60}


def test_savings_may_be_negative_and_it_is_said() -> None:
    history = FakeHistory()
    history.serve(TODAY - DAY_S, "crate", "miss", content_bytes=GB)
    history.fetch(TODAY - DAY_S, "crate", content_bytes=3 * GB)
    report = _report(history)
    total = document_of(report)["total"]
    assert (total["saved_bytes"], total["avoided_micro"]) == (-2 * GB, -200_000)
    assert {"negative-savings", "negative-money"} <= _codes(report)
    detail = facts_of(report)[1].detail
    assert "0.10 USD without the mirror, 0.30 USD with it; by" in detail


def test_upstreams_are_told_apart_with_their_complaints(small: FakeHistory) -> None:
    crates, releases = document_of(_report(small))["upstreams"]
    assert (crates["url"], crates["throttled"], crates["retried"]) == (CRATES, 2, 3)
    assert (crates["busiest_at"], crates["busiest_requests"]) == ("2026-11-19T00:00:00Z", 10)
    assert (releases["url"], releases["failed"], releases["content_bytes"]) == (
        *(RELEASES, 1, 4 * GB),
    )


def test_points_fill_the_whole_span(small: FakeHistory) -> None:
    points = document_of(_report(small))["points"]
    assert len(points) == 31
    assert (points[0]["at"], points[-1]["at"]) == ("2026-10-23T00:00:00Z", "2026-11-22T00:00:00Z")
    assert sum(point["served_bytes"] for point in points) == 15 * GB


def test_a_short_span_is_summed_by_the_hour() -> None:
    history = FakeHistory()
    history.serve(NOW - 30 * HOUR_S, "crate", content_bytes=100)
    history.serve(NOW - 3 * HOUR_S, "crate", content_bytes=7)
    report = _report(history, days=1)
    assert document_of(report)["total"]["served_bytes"] == 7
    assert len(report.points) == 24


def test_the_months_so_far_set_the_tier_of_a_short_span() -> None:
    """1 GB of the 20 of this month: a twentieth of 10 x 90,000 + 10 x 10,000."""
    history = FakeHistory(began_at=TODAY - 10 * DAY_S)
    history.serve(TODAY - 9 * DAY_S, "crate", content_bytes=19 * GB)
    history.serve(TODAY - DAY_S, "crate", content_bytes=GB)
    table = prices(meter(tiers=tiers((10, 90_000), (None, 10_000))))
    assert _report(history, table, days=2).table.costs.total.avoided_micro == 50_000
    assert _report(history, table).table.costs.total.avoided_micro == 1_000_000


def test_month_projection_and_growth_are_there_after_a_year() -> None:
    document = document_of(_report(traffic(NOW, 420)))
    month, growth = document["month"], document["growth"]
    assert month["since"] == "2026-11-01T00:00:00Z"
    sofar, projected = month["to_date"]["served_bytes"], month["projected"]["served_bytes"]
    assert sofar < projected["low"] < projected["value"] < projected["high"] < 1.6 * sofar
    avoided = month["to_date"]["avoided_micro"], month["projected"]["avoided_micro"]
    assert avoided[0] < avoided[1] < 1.6 * avoided[0]
    assert growth["method"] == "year_on_year"
    assert growth["low"] < 0.5 < growth["high"]


def test_an_empty_ledger_gives_a_report_that_says_so() -> None:
    report = _report(FakeHistory())
    document = document_of(report)
    assert {"nothing-counted", "no-curve"} <= _codes(report)
    assert (document["rows"], document["growth"], document["upstreams"]) == ([], None, [])
    assert document["month"]["projected"]["served_bytes"] is None
    assert document["total"]["request_hit_ratio"] is None


EXAMPLE = load_prices("")
OLD = prices(meter(as_of="2024-01-01"))
ONLY_GROUP = prices(meter(groups=("ci",)))


@pytest.mark.parametrize(
    ("table", "changes", "code"),
    [
        pytest.param(EXAMPLE, {}, "example-prices", id="example"),
        pytest.param(OLD, {}, "old-prices", id="old-prices"),
        pytest.param(ONLY_GROUP, {}, "fetches-unpriced", id="fetches-unpriced"),
        pytest.param(prices(meter(upstreams=("index",))), {}, "unpriced", id="unpriced"),
        pytest.param(None, {"by": ("group",)}, "groups-share-fetches", id="groups"),
        pytest.param(None, {"by": ("outcome",)}, "outcomes-have-no-fetches", id="outcomes"),
        pytest.param(None, {}, "not-over", id="today-is-not-over"),
        pytest.param(None, {"days": 200}, "counting-began", id="began-within"),
        pytest.param(
            None, {"days": 1.5, "hours_kept_s": float(DAY_S)}, "hours-gone", id="hours-gone"
        ),
    ],
)
def test_what_a_reader_must_know_is_said(
    table: Prices | None, changes: dict[str, Any], code: str, small: FakeHistory
) -> None:
    assert code in _codes(_report(small, table, **changes))


def test_what_is_fine_is_not_warned_of(small: FakeHistory) -> None:
    """Of a span that is over, with prices of one's own, only the curve is missing."""
    yesterday = span_of(TODAY - 9 * DAY_S, TODAY, Step.DAY)
    assert _codes(_report(small, span=yesterday)) == {"no-curve"}


def test_a_span_before_counting_began_says_when_it_did(small: FakeHistory) -> None:
    before = span_of(TODAY - 300 * DAY_S, TODAY - 200 * DAY_S, Step.DAY)
    (note,) = [n for n in _report(small, span=before).notes if n.code == "nothing-counted"]
    assert "2026-08-14" in note.text


def test_payers_and_sending_are_told_apart(small: FakeHistory) -> None:
    table = prices(
        meter(), meter(name="sending", payer="us", path=MeterPath.EGRESS, groups=("ci",))
    )
    total = document_of(_report(small, table))["total"]
    assert total["payers"]["upstream"]["avoided_micro"] == 1_000_000
    assert total["payers"]["us"] == {
        "without_micro": 0,
        "fetched_micro": 0,
        "egress_micro": 1_000_000,
        "avoided_micro": -1_000_000,
    }
    assert total["avoided_micro"] == 0


def test_the_document_is_plain_and_its_keys_are_a_promise(small: FakeHistory) -> None:
    """Keys of version 1: others may be added here, none may go."""
    small.object_lines = [ObjectLine(key="k", requests=3, content_bytes=4, error=1)]
    small.points = [CurvePoint(store_bytes=8, byte_hit_ratio=0.5, request_hit_ratio=0.6)]
    document = document_of(_report(small, store_bytes=8))
    assert json.loads(orjson.dumps(document)) == json.loads(json.dumps(document))
    assert set(document) == {
        *("version", "title", "generated_at", "span", "notes", "prices", "total", "own_answers"),
        *("by", "rows", "points", "month", "growth", "upstreams", "objects", "store", "curve"),
    }
    figures = {
        *("requests", "served_bytes", "head_bytes", "ranged", "not_modified", "cut", "outcomes"),
        *("upstream_requests", "fetched_bytes", "fetched_head_bytes", "saved_bytes"),
        *("spared_requests", "saved_ratio", "request_hit_ratio", "byte_hit_ratio"),
        *("without_micro", "fetched_micro", "egress_micro", "avoided_micro"),
    }
    assert set(document["total"]) == {*figures, "payers"}
    assert all(set(row) == {*figures, "class"} for row in document["rows"])
    assert document["objects"] == [{"key": "k", "requests": 3, "content_bytes": 4, "error": 1}]
    assert document["curve"][0]["store_bytes"] == document["store"]["budget_bytes"] == 8
