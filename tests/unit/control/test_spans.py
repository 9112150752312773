"""Spans of the ledger as rows for charts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.history import (
    CurvePoint,
    DownloadLine,
    FetchedLine,
    ObjectLine,
    ServedLine,
    Step,
)
from mirror.accounting.layout import FETCHED_COLUMNS, OTHER, SERVED_COLUMNS
from mirror.control.spans import MAX_POINTS, Span, SpanError, build_history, parse_span
from mirror.route.route import ContentClass

NOW = 1_800_000_030.0  # half a minute after a minute began


class FakeHistory:
    """Lines of a test; remembers what it was asked for."""

    def __init__(self, served: Sequence[ServedLine], fetched: Sequence[FetchedLine]) -> None:
        self._served, self._fetched = served, fetched
        self.asked: list[tuple[float, float, Step]] = []

    def served(self, since: float, until: float, step: Step) -> Sequence[ServedLine]:
        self.asked.append((since, until, step))
        return self._served

    def fetched(self, since: float, until: float, step: Step) -> Sequence[FetchedLine]:
        return self._fetched

    def served_by_day(self, since: float, until: float) -> dict[int, int]:
        return {}

    def objects(self, since: float, until: float, limit: int) -> Sequence[ObjectLine]:
        return [ObjectLine(key="index:/1/q", requests=3, content_bytes=9, error=1)][:limit]

    def downloads(self, since: float, until: float) -> Sequence[DownloadLine]:
        return []

    def curve(self) -> Sequence[CurvePoint]:
        return [CurvePoint(store_bytes=10, byte_hit_ratio=0.123456, request_hit_ratio=1.0)]

    def first_at(self) -> int | None:
        return 1_700_000_000


def _served(
    at: int, outcome: str, requests: int, content_bytes: int, content_class: str = "crate"
) -> ServedLine:
    columns = dict.fromkeys(SERVED_COLUMNS, 0)
    columns |= {"requests": requests, "content_bytes": content_bytes}
    return ServedLine(
        at=at, content_class=content_class, outcome=outcome, group="ci", columns=columns
    )


def _fetched(at: int, content_bytes: int) -> FetchedLine:
    columns = dict.fromkeys(FETCHED_COLUMNS, 0) | {"requests": 1, "content_bytes": content_bytes}
    return FetchedLine(at=at, content_class="crate", upstream="https://u", columns=columns)


@pytest.mark.parametrize(
    ("query", "since", "until", "step"),
    [
        pytest.param(("", "", ""), 1_799_996_400, 1_800_000_030, 60, id="the-last-hour"),
        pytest.param(("-86400", "", "600"), 1_799_913_600, 1_800_000_030, 600, id="relative"),
        pytest.param(("1799990000", "1799999999", "3600"), 1_799_989_200, 1_799_999_999, 3600,
                     id="absolute-begins-on-a-step"),
    ],
)  # fmt: skip
def test_spans_are_understood(
    query: tuple[str, str, str], since: int, until: int, step: int
) -> None:
    assert parse_span(*query, NOW) == Span(since=since, until=until, step_s=step)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(("", "", "59"), id="step-below-a-minute"),
        pytest.param(("", "", "90"), id="step-between-minutes"),
        pytest.param(("", "", "-60"), id="step-backwards"),
        pytest.param(("x", "", ""), id="no-number"),
        pytest.param(("٣", "", ""), id="other-digits"),
        pytest.param(("1" * 13, "", ""), id="far-too-long"),
        pytest.param(("1800000000", "1799999999", ""), id="ends-before-it-begins"),
        pytest.param(("1700000000", "", "60"), id="too-many-points"),
        pytest.param(("-9999999999", "", "86400"), id="before-time-began"),
        pytest.param(("1800000000", "1900000000", "604800"), id="in-the-future"),
    ],
)
def test_other_spans_are_refused_with_a_sentence(query: tuple[str, str, str]) -> None:
    with pytest.raises(SpanError, match=" "):
        parse_span(*query, NOW)


@given(
    since=st.text(max_size=14) | st.integers(-(10**9), 2 * 10**9).map(str),
    step=st.text(max_size=6) | st.integers(-60, 10**6).map(str),
)
def test_whatever_is_asked_gives_a_bounded_span_or_a_sentence(since: str, step: str) -> None:
    try:
        span = parse_span(since, "", step, NOW)
    except SpanError:
        return
    assert 0 < len(span.points) <= MAX_POINTS + 1
    assert span.step_s % span.base.value == 0
    assert span.since % span.step_s == 0


@pytest.mark.parametrize(
    ("step_s", "base"),
    [(60, Step.MINUTE), (600, Step.MINUTE), (3600, Step.HOUR), (14400, Step.HOUR),
     (86400, Step.DAY), (90000, Step.HOUR)],
)  # fmt: skip
def test_the_ledger_is_read_by_the_coarsest_step_that_fits(step_s: int, base: Step) -> None:
    assert Span(since=0, until=10**6, step_s=step_s).base is base


def test_lines_become_points_and_sums() -> None:
    served = [
        _served(0, "hit", 5, 500),
        _served(60, "miss", 1, 100),
        _served(120, "failed", 2, 0),
        _served(120, "negative", 4, 40),
        _served(10**6, "hit", 99, 99),  # outside
    ]
    history = FakeHistory(served, [_fetched(60, 110)])
    document = build_history(history, Span(since=0, until=240, step_s=120))
    assert history.asked == [(0, 240, Step.MINUTE)]
    assert document["at"] == [0, 120]
    assert document["classes"]["crate"] == {
        "requests": [6, 6],
        "answered": [6, 4],
        "local": [5, 4],
        "served_bytes": [600, 40],
        "fetched_bytes": [110, 0],
    }
    assert document["classes"]["release"]["requests"] == [0, 0]
    assert document["outcomes"]["negative"] == 4
    assert document["upstreams"][0]["url"] == "https://u"
    assert document["groups"][0]["name"] == "ci"
    assert document["curve"][0]["byte_hit_ratio"] == 0.1235
    assert document["objects"] == [
        {"key": "index:/1/q", "requests": 3, "content_bytes": 9, "error": 1}
    ]


def test_the_mirrors_own_answers_count_in_no_figure() -> None:
    served = [
        _served(0, "hit", 5, 500),
        _served(0, "hit", 3, 216, OTHER),
        _served(60, "refused", 9, 90, OTHER),
    ]
    document = build_history(FakeHistory(served, []), Span(since=0, until=120, step_s=60))
    assert document["own_answers"] == {"requests": 12, "served_bytes": 306}
    assert set(document["classes"]) == {each.value for each in ContentClass}
    assert sum(document["classes"]["crate"]["requests"]) == 5
    assert {word: n for word, n in document["outcomes"].items() if n} == {"hit": 5}
    (group,) = document["groups"]
    assert (group["requests"], group["served_bytes"]) == (5, 500)
