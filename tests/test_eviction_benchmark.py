"""The benchmark of eviction replays as the store would do, and judges as it says."""

from __future__ import annotations

import pytest

from benchmarks.ci_traces import CiShape, CiTrace, trace_of
from benchmarks.eviction import failures_of
from benchmarks.eviction_replay import ReplayedStore, replay, working_set_bytes
from benchmarks.eviction_rivals import RIVALS
from mirror.store.eviction import LeastRecentlyUsed, policy_in_force

SHAPE = CiShape(
    name="small", days=4, jobs_per_day=40, projects=10, crates=500, crates_per_project=25,
    toolchain_share=0.0, crawls=(1, 2),
)  # fmt: skip


@pytest.fixture(scope="module")
def trace() -> CiTrace:
    return trace_of(SHAPE, 1)


def _store(trace: CiTrace) -> ReplayedStore:
    return ReplayedStore(working_set_bytes(trace) // 5, policy_in_force())


def test_the_policy_in_force_is_ahead_of_lru_under_scans(trace: CiTrace) -> None:
    by_recency = ReplayedStore(working_set_bytes(trace) // 5, LeastRecentlyUsed())
    assert replay(trace, _store(trace)).byte_ratio > replay(trace, by_recency).byte_ratio + 1


def test_a_restart_changes_no_hit_and_a_lost_index_costs_some(trace: CiTrace) -> None:
    steady = replay(trace, _store(trace))
    assert replay(trace, _store(trace), 0.5) == steady
    assert replay(trace, _store(trace), 0.5, keeps_ranks=False) != steady


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_that_holds_everything_misses_each_object_once(trace: CiTrace, name: str) -> None:
    hits = replay(trace, RIVALS[name](200 * working_set_bytes(trace)))
    missed = len(set(trace.asks))
    assert hits.request_ratio == pytest.approx(100 * (1 - missed / len(trace.asks)))


def test_being_behind_fails() -> None:
    table = {"mean": {"1%": 0.1}, "scans": {"1%": 0.0}, "worst": {"1%": -0.51}}
    assert failures_of(table) == ["scans: +0.00 points at 1%", "worst: -0.51 points at 1%"]
    assert failures_of({"mean": {"1%": 1}, "scans": {"1%": 1}, "worst": {"1%": -0.5}}) == []
