"""The plan of a CI day: what it promises to those who drive or simulate it."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.ci_traffic import (
    DAY_S,
    RUSTUP_AGENT,
    Catalogue,
    Job,
    RunnerGroup,
    Shape,
    Transport,
    invented_catalogue,
    plan_day,
    references,
)

GROUPS = (
    RunnerGroup(name="cold", share=0.7, cold_ratio=1.0),
    RunnerGroup(name="warm", share=0.3, cold_ratio=0.0, transports=(Transport.TLS_HTTP2,)),
)
SHAPE = Shape(jobs=600, groups=GROUPS, projects=20, crates_per_project=30)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return invented_catalogue(crates=400)


@pytest.fixture(scope="module")
def jobs(catalogue: Catalogue) -> list[Job]:
    return plan_day(catalogue, SHAPE, seed=1)


def test_the_same_seed_gives_the_same_day(catalogue: Catalogue, jobs: list[Job]) -> None:
    assert plan_day(catalogue, SHAPE, seed=1) == jobs
    assert plan_day(catalogue, SHAPE, seed=2) != jobs


def test_jobs_are_in_order_and_within_the_day(jobs: list[Job]) -> None:
    times = [job.at_s for job in jobs]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < DAY_S
    assert len(jobs) == SHAPE.jobs + 1  # the audit


def test_every_kind_of_job_occurs(jobs: list[Job]) -> None:
    kinds = Counter(job.kind for job in jobs)
    assert set(kinds) == {"install", "warm", "update", "audit", "resume", "abandon", "probe"}
    assert kinds["audit"] == 1


def test_office_hours_are_busier_than_the_night(jobs: list[Job]) -> None:
    per_hour = Counter(int(job.at_s // 3600) for job in jobs)
    day = sum(per_hour[hour] for hour in range(9, 17)) / 8
    night = sum(per_hour[hour] for hour in (*range(9), *range(17, 24))) / 16
    assert day > 1.8 * night


def test_groups_are_as_cold_as_they_are_said_to_be(jobs: list[Job]) -> None:
    kinds = {group: {job.kind for job in jobs if job.group == group} for group in (0, 1)}
    assert "warm" not in kinds[0]
    assert "install" not in kinds[1]
    assert {job.transport for job in jobs if job.group == 1} == {Transport.TLS_HTTP2}


def test_popular_crates_are_asked_for_much_more(jobs: list[Job], catalogue: Catalogue) -> None:
    asked = Counter(item.target for item in references(jobs))
    pairs = catalogue.crates
    first, last = (
        sum(asked[pair.crate.target] for pair in some) for some in (pairs[:20], pairs[-20:])
    )
    assert first > 4 * last


def test_the_audit_asks_once_for_every_index_file(jobs: list[Job], catalogue: Catalogue) -> None:
    audit = next(job for job in jobs if job.kind == "audit")
    assert [ask.item for ask in audit.asks()] == [pair.index for pair in catalogue.crates]


def test_an_install_asks_as_rustup_and_then_as_cargo(jobs: list[Job]) -> None:
    install = next(job for job in jobs if job.kind == "install")
    agents = [ask.agent for ask in install.asks()]
    changes = [before != after for before, after in itertools.pairwise(agents)]
    assert agents[0] == RUSTUP_AGENT
    assert sum(changes) == 1
    assert [phase.keeps_connection for phase in install.phases] == [False] * 3 + [True] * 3
    index, crates = install.phases[4].asks, install.phases[5].asks
    assert len(index) == len(crates) > 0


def test_resumed_and_abandoned_downloads_end_within_the_archive(jobs: list[Job]) -> None:
    for job in jobs:
        for ask in job.asks():
            if ask.range_start is not None:
                assert 0 < ask.range_start < ask.item.length_bytes
            if ask.abandon_after is not None:
                assert 0 <= ask.abandon_after < ask.item.length_bytes


def test_only_groups_that_abandon_do(catalogue: Catalogue) -> None:
    patient = tuple(replace(group, abandons=False) for group in GROUPS)
    mixed = (patient[0], GROUPS[1])

    def abandoning(groups: tuple[RunnerGroup, ...]) -> set[int]:
        plan = plan_day(catalogue, replace(SHAPE, groups=groups), seed=3)
        return {job.group for job in plan if job.kind == "abandon"}

    assert abandoning(patient) == set()
    assert abandoning(mixed) == {1}
