"""`mirror.accounting.forecast`: projections and growth say what they can, and how surely."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime

import pytest

from mirror.accounting.days import DAY_S
from mirror.accounting.forecast import growth, project, t_quantile

NOON = int(datetime(2026, 11, 16, 12, tzinfo=UTC).timestamp())  # a Monday; 14.5 days are left
TODAY = NOON - DAY_S // 2
BEGIN = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())


def _days(count: int, amount: float = 100.0) -> dict[int, float]:
    return {TODAY - back * DAY_S: amount for back in range(1, count + 1)} | {TODAY: amount / 2}


def test_even_days_go_on_as_they_were() -> None:
    found = project(_days(40), TODAY - 40 * DAY_S, NOON)
    assert found is not None
    assert found.value == pytest.approx(30 * 100)
    assert found.low == pytest.approx(3000)
    assert found.high == pytest.approx(3000)


def test_weekends_are_projected_as_weekends() -> None:
    days = {
        at: (10.0 if datetime.fromtimestamp(at, UTC).weekday() >= 5 else 100.0)
        for at in range(TODAY - 40 * DAY_S, TODAY, DAY_S)
    } | {TODAY: 50.0}
    found = project(days, TODAY - 40 * DAY_S, NOON)
    assert found is not None
    # November 2026 has 21 working days and nine days of weekends.
    assert found.value == pytest.approx(21 * 100 + 9 * 10)
    assert found.high == pytest.approx(found.value)


def test_the_interval_holds_what_comes_nineteen_times_in_twenty() -> None:
    chance = random.Random(5)
    held = 0
    for _ in range(400):
        past = {TODAY - back * DAY_S: chance.gauss(100, 20) for back in range(1, 29)}
        found = project(past | {TODAY: 50.0}, TODAY - 28 * DAY_S, NOON)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        so_far = 50 + sum(amount for at, amount in past.items() if at >= BEGIN)
        truth = so_far + chance.gauss(50, 14) + sum(chance.gauss(100, 20) for _ in range(14))
        held += found.low <= truth <= found.high
    assert 0.91 <= held / 400 <= 0.99


def test_what_only_grows_never_ends_below_what_it_is() -> None:
    """One wild day: half the width of the interval is more than all that is ahead."""
    days = _days(20, 1.0) | {TODAY - DAY_S: 5000.0}
    grows = project(days, TODAY - 20 * DAY_S, NOON)
    falls = project(days, TODAY - 20 * DAY_S, NOON, may_fall=True)
    assert grows is not None
    assert falls is not None
    assert grows.low == sum(amount for at, amount in days.items() if at >= BEGIN)
    assert falls.low is not None
    assert falls.low < 0
    assert (grows.value, grows.high) == (falls.value, falls.high)


def test_of_the_first_day_only_its_rate_is_known() -> None:
    found = project({TODAY: 60.0}, NOON - 6 * 3600, NOON)
    assert found is not None
    assert (found.low, found.high, found.days_used) == (None, None, 0)
    assert found.value == pytest.approx(60 + 240 * 14.5)


def test_nothing_is_projected_from_minutes() -> None:
    assert project({TODAY: 60.0}, NOON - 600, NOON) is None


def test_the_day_on_which_counting_began_is_not_a_whole_day() -> None:
    days = _days(5) | {TODAY - 5 * DAY_S: 1.0}
    found = project(days, TODAY - 5 * DAY_S + 80_000, NOON)
    assert found is not None
    assert found.days_used == 4
    assert found.value == pytest.approx(4 * 100 + 1 + 50 + 14.5 * 100)


def test_two_days_give_no_interval() -> None:
    found = project(_days(2), TODAY - 2 * DAY_S, NOON)
    assert found is not None
    assert found.low is None


def _growing(years: float, rate: float, noise: float, seed: int = 1) -> dict[int, float]:
    chance = random.Random(seed)
    days = {}
    for back in range(1, int(years * 365) + 1):
        at = TODAY - back * DAY_S
        weekend = 0.4 if datetime.fromtimestamp(at, UTC).weekday() >= 5 else 1.0
        scale = math.exp(-math.log1p(rate) * back / 364)
        days[at] = 1e12 * weekend * scale * math.exp(chance.gauss(0, noise))
    return days


@pytest.mark.parametrize(("rate", "noise"), [(0.6, 0.0), (-0.3, 0.05), (0.25, 0.2)])
def test_a_year_of_history_is_compared_with_the_year_before(rate: float, noise: float) -> None:
    days = _growing(1.2, rate, noise)
    found = growth(days, min(days), NOON)
    assert found is not None
    assert found.method == "year_on_year"
    assert found.low - 1e-4 <= rate <= found.high + 1e-4
    assert found.high - found.low < 0.5


def test_a_day_without_traffic_a_year_ago_leaves_the_trend() -> None:
    """No ratio has a logarithm there."""
    days = _growing(1.2, 0.5, 0.05)
    days[TODAY - 370 * DAY_S] = 0.0
    found = growth(days, min(days), NOON)
    assert found is not None
    assert found.method == "trend"
    assert found.low <= 0.5 <= found.high


def test_less_than_a_year_is_a_trend_that_is_less_sure() -> None:
    days = _growing(0.4, 0.5, 0.1)
    found = growth(days, min(days), NOON)
    assert found is not None
    assert (found.method, found.samples) == ("trend", 20)
    assert found.low <= 0.5 <= found.high


@pytest.mark.parametrize("method_years", [0.5, 1.2], ids=["trend", "year-on-year"])
def test_the_interval_of_growth_holds_the_truth_as_often_as_it_says(method_years: float) -> None:
    held = 0
    for seed in range(200):
        days = _growing(method_years, 0.3, 0.15, seed)
        found = growth(days, min(days), NOON)
        assert found is not None
        held += found.low <= 0.3 <= found.high
    assert held / 200 >= 0.90


@pytest.mark.parametrize(
    "days",
    [
        pytest.param({}, id="nothing"),
        pytest.param(_days(50), id="seven-weeks"),
        pytest.param(dict.fromkeys(range(TODAY - 90 * DAY_S, TODAY, DAY_S), 0.0), id="only-zeros"),
    ],
)
def test_too_little_history_gives_no_growth(days: dict[int, float]) -> None:
    assert growth(days, min(days, default=NOON), NOON) is None


def test_weeks_that_grow_evenly_leave_no_doubt() -> None:
    days = {TODAY - back * DAY_S: 2.0 ** -((back - 1) // 7) for back in range(1, 71)}
    found = growth(days, TODAY - 70 * DAY_S, NOON)
    assert found is not None
    assert found.low == found.high == round(math.expm1(20), 4)  # a doubling a week is capped


@pytest.mark.parametrize(
    ("freedom", "expected"), [(3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042), (1e9, 1.95996)]
)
def test_students_t_is_that_of_the_tables(freedom: float, expected: float) -> None:
    assert t_quantile(freedom) == pytest.approx(expected, rel=0.01)
