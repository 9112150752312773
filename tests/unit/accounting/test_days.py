"""`mirror.accounting.days`: days, hours and months of UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.days import (
    DAY_S,
    Span,
    date_text,
    floor_to,
    month_after,
    month_of,
    month_text,
    span_of,
    time_text,
)
from mirror.accounting.history import Step

LEAP = int(datetime(2024, 2, 29, 13, 5, tzinfo=UTC).timestamp())
DECEMBER = int(datetime(2026, 12, 31, 23, 59, tzinfo=UTC).timestamp())


def test_months_are_calendar_months() -> None:
    assert time_text(month_of(LEAP)) == "2024-02-01T00:00:00Z"
    assert time_text(month_after(LEAP)) == "2024-03-01T00:00:00Z"
    assert time_text(month_after(DECEMBER)) == "2027-01-01T00:00:00Z"
    assert (date_text(LEAP), month_text(LEAP)) == ("2024-02-29", "2024-02")


@given(since=st.floats(0, 4e9), length=st.floats(1, 4e8), step=st.sampled_from(Step))
def test_a_span_holds_both_ends_and_no_whole_step_more(
    since: float, length: float, step: Step
) -> None:
    until = since + length
    span = span_of(since, until, step)
    assert span.since <= since < until <= span.until
    assert span.since > since - step.value
    assert span.until < until + step.value


@pytest.mark.parametrize(
    ("since", "until"),
    [
        pytest.param(DAY_S, DAY_S, id="empty"),
        pytest.param(2 * DAY_S, DAY_S, id="backwards"),
        pytest.param(5, DAY_S, id="begins-within-a-step"),
        pytest.param(0, DAY_S + 5, id="ends-within-a-step"),
        pytest.param(-DAY_S, DAY_S, id="before-1970"),
    ],
)
def test_a_span_that_cannot_be_summed_is_refused(since: int, until: int) -> None:
    with pytest.raises(ValueError, match="a span begins"):
        Span(since=since, until=until, step=Step.DAY)


@given(at=st.floats(0, 4e9))
def test_a_moment_lies_in_its_month(at: float) -> None:
    assert month_of(at) <= floor_to(at, Step.DAY) <= at < month_after(at)
