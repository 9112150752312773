"""What the run with hostile clients judges, without one: each claim can fail.

Runs in: pytest.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.growth import Sample, rss_slopes, slope
from benchmarks.hostile import JUDGED_PHASES, JUDGED_S, faults_of
from benchmarks.hostile_crowd import KINDS, totals
from benchmarks.hostile_good import quantile_ms

GOOD: dict[str, Any] = {
    "good failed": 0,
    "good wrong": 0,
    "good right": 100,
    "good closed between requests": 0,
    "good by HTTP/2": 40,
    "good misses": 5,
    "hostile": {name: {"connections": 1} for name in KINDS},
    "hostile broken": [],
    "open files more": {"keeper": 1},
    "rss growth, bytes": {"keeper": 1 << 20},
    "rss slope, bytes per hour": {"keeper": 1000},
    "slope of s": JUDGED_S,
    "temps left": 0,
    "own faults": [],
    "p99 times, judged": 1.2,
    "p99 phases judged": JUDGED_PHASES,
}


def test_a_good_run_has_no_fault() -> None:
    assert faults_of(GOOD, is_timed=True) == []


@pytest.mark.parametrize(
    ("noun", "value"),
    [
        ("good failed", 1),
        ("good wrong", 1),
        ("good closed between requests", 1),
        ("good right", 0),
        ("good by HTTP/2", 0),
        ("good misses", 0),
        ("hostile", {name: {"connections": 1} for name in list(KINDS)[1:]}),
        ("hostile", {name: {"bursts": 1} for name in KINDS}),
        ("hostile broken", ["a traceback"]),
        ("open files more", {"keeper": 0, "worker-0": 100}),
        ("rss growth, bytes", {"keeper": 1 << 30}),
        ("rss slope, bytes per hour", {"worker-0": 2 << 20}),
        ("temps left", 1),
        ("own faults", ["a traceback"]),
        ("p99 times, judged", 2.0),
    ],
)
def test_each_claim_fails_by_itself(noun: str, value: object) -> None:
    assert len(faults_of({**GOOD, noun: value}, is_timed=True)) == 1


def test_times_and_slopes_of_short_runs_are_told_and_not_judged() -> None:
    slow = {**GOOD, "p99 times, judged": 9.0}
    assert faults_of(slow, is_timed=False) == []
    assert faults_of({**slow, "p99 phases judged": JUDGED_PHASES - 1}, is_timed=True) == []
    steep = {**GOOD, "rss slope, bytes per hour": {"keeper": 1 << 30}, "slope of s": 60.0}
    assert faults_of(steep, is_timed=True) == []


def test_slope_is_that_of_the_least_squares() -> None:
    assert slope([(0.0, 1), (1.0, 3), (2.0, 5)]) == 2.0
    assert slope([(0.0, 0), (1.0, 2), (2.0, 1)]) == 0.5
    assert slope([(0.0, 7)]) == 0.0
    grown = [Sample(float(at), {"keeper": at * 10}, {}) for at in range(5)]
    assert rss_slopes(grown) == {"keeper": 36_000}


def test_quantiles_and_sums() -> None:
    assert quantile_ms([], 0.99) == 0.0
    assert quantile_ms([at / 1000 for at in range(100)], 0.99) == 99.0
    assert totals({"a": {"cut": 1}, "b": {"cut": 2, "frames": 3}}) == {"cut": 3, "frames": 3}
