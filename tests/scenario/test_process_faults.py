"""Who ends when: signals to everybody, a dead supervisor, processes that cannot live or be made."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.body_checker import Readers, known, pinned_to_each_worker, warmed
from tests.scenario.edge import DEADLINE_S, Edge, wait_until
from tests.scenario.exchange import Client
from tests.scenario.upstream_objects import count_of, sha256_of, slow_archive

pytestmark = pytest.mark.full


@pytest.fixture
def edge(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    with Edge(tmp_path, upstream) as running:
        yield running


def test_sigterm_to_the_whole_group_lets_fills_finish(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    """As `kill -- -PGID` does, and service managers that signal every process of a service."""
    archive = slow_archive(upstream, 2_000_000, 1_000_000)
    with Client(edge.port) as client:
        response = client.begin(archive.path)
        first = response.read(1000)
        pids = edge.pids()
        for pid in (pids.pop("keeper"), *pids.values(), edge.process.pid):
            os.kill(pid, signal.SIGTERM)
        assert sha256_of(first + response.read()) == archive.sha256
    assert edge.process.wait(DEADLINE_S) == 0
    assert count_of(upstream, archive.key)["requests"] == 1
    assert edge.own_faults() == []


def test_keeper_of_a_dead_supervisor_lives_as_long_as_workers_drain(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    archive = slow_archive(upstream, 2_000_000, 1_000_000)
    with Client(edge.port) as client:
        response = client.begin(archive.path)
        first = response.read(1000)
        edge.process.kill()
        edge.process.wait(DEADLINE_S)
        assert sha256_of(first + response.read()) == archive.sha256
    wait_until(lambda: edge.pids() == {}, "nobody is left")
    assert count_of(upstream, archive.key)["requests"] == 1


def test_machine_without_room_for_processes_costs_nobody_else(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    """No descriptor is left to the supervisor, so it cannot fork; what runs goes on."""
    [warm] = warmed(edge, 100_000)
    supervisor, victim = edge.process.pid, edge.pids()["worker-0"]
    allowed = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    with Readers(pinned_to_each_worker(edge, 2, spared="worker-0"), known(warm)) as readers:
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (4, allowed[1]))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: bool(edge.named("process-not-started")), "it is told")
        seen = readers.right_total
        wait_until(lambda: readers.right_total > seen + 50, "the other worker answers")
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, allowed)
        wait_until(lambda: len(edge.pids()) == 3, "it is started after all")
    assert readers.failed_on == []
    assert len(edge.named("process-not-started")) == 1
    assert edge.process.poll() is None


def test_keeper_that_dies_again_and_again_is_one_alarm_and_hits_go_on(edge: Edge) -> None:
    [warm] = warmed(edge, 100_000)
    killed: set[int] = set()
    with Readers(pinned_to_each_worker(edge, 2), known(warm)) as readers:
        while not edge.named("process-keeps-dying") or len(killed) < 7:
            wait_until(lambda: edge.pids().get("keeper", 0) not in killed | {0}, "it is back")
            killed.add(edge.pids()["keeper"])
            os.kill(edge.pids()["keeper"], signal.SIGKILL)
        wait_until(lambda: len(edge.named("process-died")) == len(killed), "all are told")
    levels = [event["level"] for event in edge.named("process-died")]
    print(f"{len(killed)} kills, {readers.right_total} hits")
    assert readers.failed_on == []
    assert readers.right_total > 0
    assert levels == ["error"] * 5 + ["info"] * (len(killed) - 5)
    assert len(edge.named("process-keeps-dying")) == 1


def test_followers_of_a_killed_worker_cost_the_others_nothing(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    archive = slow_archive(upstream, 2_000_000, 1_000_000)
    followers = pinned_to_each_worker(edge, 3)
    begun = {client: client.begin(archive.path) for _, client in followers}
    victim = followers[0][0]
    os.kill(edge.pids()[victim], signal.SIGKILL)
    survivors = [(client, begun[client]) for name, client in followers if name != victim]
    assert len(survivors) == 3
    for client, response in survivors:
        assert sha256_of(response.read()) == archive.sha256
        client.close()
    for name, client in followers:
        if name == victim:
            client.close()
    assert count_of(upstream, archive.key)["requests"] == 1
