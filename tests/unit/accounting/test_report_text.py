"""A report in words: CSV, Markdown, HTML and its charts; hostile names stay text everywhere."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from mirror.accounting.days import DAY_S, span_of
from mirror.accounting.forecast import Growth, Projection
from mirror.accounting.history import CurvePoint, ObjectLine, Step
from mirror.accounting.price_file import load_prices
from mirror.accounting.prices import MeterPath
from mirror.accounting.report import Point, Report, ReportRequest, build_report
from mirror.accounting.report_charts import MAX_BARS, curve_chart, traffic_chart
from mirror.accounting.report_page import html_of
from mirror.accounting.report_sections import sections_of
from mirror.accounting.report_text import csv_of, markdown_of
from mirror.accounting.report_words import (
    bytes_text,
    count_text,
    disk_text,
    growth_text,
    percent_text,
    projection_text,
)
from tests.unit.accounting.fake_history import FakeHistory, traffic
from tests.unit.accounting.meters import meter, prices

NOW = int(datetime(2026, 11, 22, 15, tzinfo=UTC).timestamp())
TODAY = NOW // DAY_S * DAY_S
HOSTILE = "<script>alert(1)</script>|`x`\x1b[2J&\"'=cmd"
CURVE = [
    CurvePoint(store_bytes=size << 30, byte_hit_ratio=ratio, request_hit_ratio=ratio)
    for size, ratio in ((25, 0.5), (100, 0.8), (400, 0.95))
]


def _report(history: FakeHistory, **changes: object) -> Report:
    request = ReportRequest(
        span=span_of(NOW - 30 * DAY_S, NOW, Step.DAY),
        now=NOW,
        by=("class", "group"),
        title="What mirror.example saved",
        store_bytes=100 << 30,
    )
    return build_report(history, load_prices(""), replace(request, **changes))  # type: ignore[arg-type]  # fields of the request


@pytest.fixture(scope="module")
def hostile() -> Report:
    history = FakeHistory(began_at=TODAY - 50 * DAY_S, points=list(CURVE))
    history.serve(TODAY - DAY_S, "crate", "hit", HOSTILE, content_bytes=10**12)
    history.fetch(TODAY - DAY_S, "crate", f"https://{HOSTILE}", content_bytes=10**9)
    history.object_lines = [ObjectLine(key=HOSTILE, requests=1, content_bytes=2, error=0)]
    return _report(history, title=HOSTILE)


class _Page(HTMLParser):
    """Names of elements, addresses that something is loaded from, and shown text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.loaded += [f"{name}={value}" for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _value in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_one_file_without_scripts(hostile: Report) -> None:
    page = _Page(html_of(hostile))
    assert page.loaded == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.elements)
    assert "url(" not in html_of(hostile)
    assert "@import" not in html_of(hostile)
    assert page.elements.count("svg") == 2


def test_hostile_names_are_shown_and_not_obeyed(hostile: Report) -> None:
    page = _Page(html_of(hostile))
    assert page.text.count("<script>alert(1)</script>") == 5  # head, title, group, URL, object
    assert "<script" not in html_of(hostile)
    markdown = markdown_of(hostile)
    assert "\x1b" not in markdown
    assert "<script" not in markdown.replace("\\<", "")
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert all("\\|" in row for row in rows if "alert" in row)


def test_every_section_says_something(hostile: Report) -> None:
    html = html_of(hostile)
    for section in sections_of(hostile):
        assert f'id="{section.key}"' in html
        assert section.rows or section.total or section.empty
        widths = {len(row) for row in (*section.rows, section.total) if row}
        assert widths <= {len(section.headings)}


def test_payers_have_a_table_when_there_are_several() -> None:
    history = FakeHistory()
    history.serve(TODAY, "crate", content_bytes=10**12)
    table = prices(meter(), meter(name="out", payer="us", path=MeterPath.EGRESS))
    request = ReportRequest(span=span_of(NOW - 3600, NOW, Step.HOUR), now=NOW)
    markdown = markdown_of(build_report(history, table, request))
    assert "| us | 0.00 USD | 0.00 USD | 100.00 USD | -100.00 USD |" not in markdown  # at midnight
    whole = replace(request, span=span_of(NOW - DAY_S, NOW, Step.HOUR))
    markdown = markdown_of(build_report(history, table, whole))
    assert "| us | 0.00 USD | 0.00 USD | 100.00 USD | -100.00 USD |" in markdown
    assert "2026-11-21T15:00:00Z to 2026-11-22T15:00:00Z" in markdown


def test_a_report_of_nothing_is_still_a_page() -> None:
    html = html_of(_report(FakeHistory()))
    assert "Nothing was counted yet." in html
    assert "<svg" not in html


def test_a_year_of_traffic_makes_a_small_page() -> None:
    page = html_of(_report(traffic(NOW, 200), span=span_of(NOW - 365 * DAY_S, NOW, Step.DAY)))
    assert len(page) < 64 * 1024


def test_csv_is_the_rows_of_the_document() -> None:
    report = _report(traffic(NOW, 40))
    rows = list(csv.DictReader(io.StringIO(csv_of(report))))
    assert [(row["class"], row["group"]) for row in rows] == [row.key for row in report.table.rows]
    assert sum(int(row["saved_bytes"]) for row in rows) == report.table.total.saved_bytes
    costs = report.table.costs.total
    assert sum(int(row["avoided_micro"]) for row in rows) == costs.avoided_micro


def test_csv_begins_no_formula() -> None:
    history = FakeHistory()
    history.serve(TODAY, "crate", "hit", "=1+1", content_bytes=1)
    history.fetch(TODAY, "crate", content_bytes=5)
    (row,) = csv.DictReader(io.StringIO(csv_of(_report(history))))
    assert row["group"] == "'=1+1"
    assert row["saved_bytes"] == "-4"


def test_csv_without_rows_has_its_headings() -> None:
    assert csv_of(_report(FakeHistory())).startswith("class,group,requests,served_bytes,")


def test_csv_of_the_total_alone_is_one_line() -> None:
    (row,) = csv.DictReader(io.StringIO(csv_of(_report(traffic(NOW, 3), by=()))))
    assert int(row["requests"]) > 0


def _points(count: int, served: int = 5, fetched: int = 9) -> list[Point]:
    return [
        Point(at=TODAY - at * DAY_S, requests=1, served_bytes=served, fetched_bytes=fetched)
        for at in reversed(range(count))
    ]


@pytest.mark.parametrize("count", [1, 2, 30, 100, 101, 366, 3650, 18_000])
def test_bars_are_at_most_a_hundred_and_stay_in_the_picture(count: int) -> None:
    span = span_of(TODAY - (count - 1) * DAY_S, TODAY + 1, Step.DAY)
    root = ElementTree.fromstring(traffic_chart(_points(count), span))
    bars = [each for each in root.iter("rect") if each.get("class") == "served"]
    assert 1 <= len(bars) <= MAX_BARS
    for bar in root.iter("rect"):
        x, y, width, height = (float(bar.get(name, "-1")) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + width <= 760
        assert 0 <= y <= y + height <= 240.1


def test_no_traffic_has_no_chart() -> None:
    span = span_of(TODAY - DAY_S, TODAY + 1, Step.DAY)
    assert traffic_chart(_points(2, 0, 0), span) == ""
    assert traffic_chart([], span) == ""


@pytest.mark.parametrize("step", list(Step))
def test_each_step_has_a_chart(step: Step) -> None:
    span = span_of(TODAY - 300 * step.value, TODAY, step)
    points = [
        Point(at=at, requests=1, served_bytes=at % 7, fetched_bytes=0)
        for at in range(span.since, span.until, step.value)
    ]
    ElementTree.fromstring(traffic_chart(points, span))


@pytest.mark.parametrize(("budget", "is_marked"), [(100 << 30, True), (1 << 50, False), (0, False)])
def test_the_curve_marks_the_present_store(budget: int, is_marked: bool) -> None:
    picture = curve_chart(CURVE, budget)
    ElementTree.fromstring(picture)
    assert (">100 GiB now<" in picture) is is_marked


def test_a_curve_of_one_point_is_none() -> None:
    assert curve_chart(CURVE[:1], 0) == ""
    assert curve_chart([CURVE[0], CURVE[0]], 0) == ""


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (12_340_000, "12.3 MB"),
        (-4.4e12, "-4.40 TB"), (999_999_999, "1.00 GB"), (10**21, "1000 EB"), (None, "-"),
    ],
)  # fmt: skip
def test_sizes_are_decimal(amount: float | None, text: str) -> None:
    assert bytes_text(amount) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (count_text(999_999), "999,999"),
        (count_text(12_345_678), "12.3 million"),
        (count_text(-2_500_000_000), "-2.50 billion"),
        (count_text(None), "-"),
        (percent_text(0.9734), "97.3 %"),
        (percent_text(0.99999), "99.99 %"),
        (percent_text(1.0), "100.0 %"),
        (percent_text(-0.0002), "0.0 %"),
        (percent_text(-0.002), "-0.2 %"),
        (bytes_text(-0.3), "0 B"),
        (percent_text(None), "-"),
        (disk_text(100 << 30), "100 GiB"),
        (projection_text(None), "too early to tell"),
    ],
)
def test_amounts_are_written_for_people(text: str, expected: str) -> None:
    assert text == expected


def test_doubt_is_written_out() -> None:
    sure = Growth(method="trend", ratio=0.5, low=0.2, high=12.0, samples=20)
    assert growth_text(sure) == (
        "+50 % a year (95 % interval +20 % to x13; the trend of 20 weeks stretched to a year)."
    )
    unsure = replace(sure, method="year_on_year", low=-0.1)
    assert growth_text(unsure).endswith("The interval holds zero: it may not grow at all.")
    assert "8 whole weeks" in growth_text(None)
    lone = Projection(value=1e12, low=None, high=None, days_used=0)
    assert projection_text(lone) == "1.00 TB (too few days to say how surely)"
