"""`mirror.cli.report_spans`: what a time on the command line means."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest

from mirror.accounting.days import time_text
from mirror.accounting.history import Step
from mirror.cli.report_spans import span_between, whole_days

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("since", "until", "by", "begin", "end", "step"),
    [
        ("30d", "", (), "2026-10-23T00", "2026-11-23T00", Step.DAY),
        ("12h", "", (), "2026-11-22T03", "2026-11-22T16", Step.HOUR),
        ("30d", "", ("hour",), "2026-10-23T15", "2026-11-22T16", Step.HOUR),
        ("2026-10-01", "2026-11-01", (), "2026-10-01T00", "2026-11-01T00", Step.DAY),
        ("2026-11-21", "2026-11-22", (), "2026-11-21T00", "2026-11-22T00", Step.HOUR),
        ("2026-11-21T06:00+02:00", "1h", (), "2026-11-21T04", "2026-11-22T15", Step.HOUR),
        ("7d", "2999-01-01", (), "2026-11-15T00", "2026-11-23T00", Step.DAY),
    ],
)
def test_a_span_is_whole_steps(
    since: str, until: str, by: tuple[str, ...], begin: str, end: str, step: Step
) -> None:
    span = span_between(since, until, by, NOW, hours_kept_s=90 * 86400)
    assert time_text(span.since) == f"{begin}:00:00Z"
    assert time_text(span.until) == f"{end}:00:00Z"
    assert span.step is step


def test_a_short_span_whose_hours_are_gone_is_summed_by_the_day() -> None:
    for kept_s, step in ((36 * 3600, Step.HOUR), (35 * 3600, Step.DAY)):
        span = span_between("36h", "30h", (), NOW, hours_kept_s=kept_s)
        assert span.step is step
    assert span_between("36h", "", ("hour",), NOW, hours_kept_s=3600).step is Step.HOUR


@pytest.mark.parametrize(
    ("since", "until", "begin", "end"),
    [
        ("1d", "", "2026-11-21", "2026-11-22"),
        ("7d", "", "2026-11-15", "2026-11-22"),
        ("2026-11-01", "2026-12-01", "2026-11-01", "2026-11-22"),
        ("2026-11-01", "2026-11-02T12:00", "2026-11-01", "2026-11-02"),
    ],
)
def test_downloads_are_of_whole_days(since: str, until: str, begin: str, end: str) -> None:
    found = whole_days(since, until, NOW)
    assert [time_text(at)[:10] for at in found] == [begin, end]


@pytest.mark.parametrize("since", ["", "yesterday", "30", "-3d", "0d", "2026-13-01", "1969-01-01"])
def test_a_time_that_is_none_is_refused(since: str) -> None:
    with pytest.raises(click.BadParameter):
        span_between(since, "", (), NOW, hours_kept_s=90 * 86400)
