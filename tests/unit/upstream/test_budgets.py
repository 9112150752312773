"""`mirror.upstream.budgets`: never more than is allowed, whoever asks and whenever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.upstream.budgets import HEDGES_SAVED, HedgeBudget, Pace


def test_a_burst_is_free_and_the_next_waits_its_turn() -> None:
    pace = Pace(10, 3)
    assert [pace.take(1, 50.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert [round(pace.take(1, 50.0), 6) for _ in range(3)] == [0.1, 0.2, 0.3]
    assert round(pace.wait_s(1, 50.0), 6) == 0.4


def test_what_was_not_used_is_saved_up_to_the_burst_only() -> None:
    pace = Pace(10, 3)
    for _ in range(6):
        pace.take(1, 50.0)
    assert [pace.take(1, 1000.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert pace.take(1, 1000.0) > 0


def test_a_turn_that_is_too_far_off_is_not_taken() -> None:
    pace = Pace(1, 1)
    assert [pace.take(1, 0.0, longest_s=2.0) for _ in range(5)] == [0.0, 1.0, 2.0, -1.0, -1.0]
    assert pace.take(1, 1.0, longest_s=2.0) == 2.0, "those that were refused took nothing"


def test_a_turn_that_is_given_back_is_the_next_ones() -> None:
    pace = Pace(1, 1)
    assert [pace.take(1, 0.0) for _ in range(4)] == [0.0, 1.0, 2.0, 3.0]
    for _ in range(3):
        pace.give_back(1)
    assert pace.take(1, 0.0) == 1.0
    pace.give_back(100)
    assert [pace.take(1, 0.0) for _ in range(2)] == [0.0, 1.0], "never more than the burst at once"


def test_without_a_rate_nobody_waits() -> None:
    pace = Pace(0, 0)
    assert not pace.is_limited
    assert [pace.take(10**12, 0.0) for _ in range(3)] == [0.0] * 3
    assert pace.wait_s(1, 0.0) == 0.0
    assert repr(Pace(200, 2000)) == "<Pace 200 per s>"


@given(
    rate=st.integers(min_value=1, max_value=1000),
    burst_s=st.integers(min_value=1, max_value=10),
    steps=st.lists(
        st.tuples(st.floats(min_value=0, max_value=2), st.integers(min_value=1, max_value=50)),
        min_size=1,
        max_size=100,
    ),
)
def test_no_span_of_time_brings_more_than_its_rate_and_one_burst(
    rate: int, burst_s: int, steps: list[tuple[float, int]]
) -> None:
    burst = rate * burst_s
    pace, now, granted = Pace(rate, burst), 0.0, []
    for later, amount in steps:
        now += later
        wait_s = pace.take(amount, now, longest_s=5.0)
        assert wait_s <= 5.0
        if wait_s >= 0:
            granted.append((now + wait_s, amount))
    granted.sort()
    for first, (start, _) in enumerate(granted):
        total = 0
        for at, amount in granted[first:]:
            total += amount
            assert total <= burst + rate * (at - start) + 50 + 1e-6  # and the one that ends it


@pytest.mark.parametrize("percent", [1, 5, 20, 100])
def test_hedges_are_no_more_than_their_share_and_the_one_at_the_start(percent: int) -> None:
    budget, spent, requests = HedgeBudget(percent), 0, 4000
    for _ in range(requests):
        budget.earn()
        spent += budget.spend()
    assert spent == requests * percent // 100 + 1 or spent == requests * percent // 100
    assert spent >= requests * percent // 100


def test_a_storm_of_slow_answers_doubles_no_more_than_what_was_saved() -> None:
    budget = HedgeBudget(5)
    for _ in range(100_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) == HEDGES_SAVED
    assert not budget.is_open
    assert repr(budget) == "<HedgeBudget 0>"


def test_at_zero_percent_there_are_none() -> None:
    budget = HedgeBudget(0)
    for _ in range(1000):
        budget.earn()
    assert not budget.spend()
