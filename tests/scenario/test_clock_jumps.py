"""The machine's clock jumps by an hour and by a year, both ways, under a mirror that serves.

What is stored stays, guards stay shut, and nobody is taken for dead.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.faults.clock import MovedClock
from tests.scenario.body_checker import warmed
from tests.scenario.conftest import QUICK_FRESHNESS
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import fetch
from tests.scenario.upstream_objects import Archive, log_of

HOUR_S = 3600.0
YEAR_S = 365.25 * 86400
JUMPS_S = (HOUR_S, -HOUR_S, YEAR_S, -YEAR_S)
CHANNEL = "1.77"
MANIFEST = f"/dist/channel-rust-{CHANNEL}.toml"
CRATE = "/crates/io/io-1.0.0.crate"
INDEX = "/index/2/io"


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[MovedClock]:
    made = MovedClock(tmp_path / "clock")
    yield made
    made.close()


@pytest.fixture
def edge(tmp_path: Path, clock: MovedClock, upstream: SimulatorProcess) -> Iterator[Edge]:
    with Edge(
        tmp_path / "edge", upstream, settings=QUICK_FRESHNESS, environment=clock.environment
    ) as running:
        yield running


def everything(edge: Edge, archive: Archive) -> dict[str, tuple[int, str]]:
    replies = {path: fetch(edge.port, path) for path in (archive.path, MANIFEST, CRATE, INDEX)}
    return {path: (reply.status, reply.sha256) for path, reply in replies.items()}


@pytest.mark.full
def test_clock_jump_expires_nothing_and_opens_no_guard(
    edge: Edge, clock: MovedClock, upstream: SimulatorProcess
) -> None:
    upstream.control.flip(CHANNEL)
    upstream.control.flip(CHANNEL)  # there is an older one to roll back to
    [archive] = warmed(edge, 300_000)
    before, pids = everything(edge, archive), edge.pids()
    assert {status for status, _ in before.values()} == {200}
    for jump_s in JUMPS_S:
        reads = clock.reads_total
        clock.move(jump_s)
        wait_until(lambda reads=reads: clock.reads_total > reads, "it is seen")  # type: ignore[misc]
        fetched = len(log_of(upstream, archive.path))
        assert everything(edge, archive) == before
        assert len(log_of(upstream, archive.path)) == fetched
        asked = rolled_back_and_asked_for(edge, upstream)
        assert asked == before[MANIFEST], f"rollback at {jump_s:+.0f} s"
        upstream.control.stop_serving()
        assert everything(edge, archive) == before, f"alone at {jump_s:+.0f} s"
        upstream.control.resume_serving()
    clock.move(0.0)
    upstream.control.flip(CHANNEL)
    wait_until(lambda: fetch(edge.port, MANIFEST).sha256 != before[MANIFEST][1], "news are taken")
    for event in ("process-hung", "process-silent", "process-died", "keeper-lost"):
        assert edge.named(event) == []
    assert edge.pids() == pids
    assert edge.own_faults() == []
    print(f"{len(JUMPS_S)} jumps, moved clocks read {clock.reads_total} times")


def rolled_back_and_asked_for(edge: Edge, upstream: SimulatorProcess) -> tuple[int, str]:
    """Have upstream offer the older manifest until the mirror has looked at it; then the newer."""
    upstream.control.roll_back(CHANNEL)
    seen = len(log_of(upstream, MANIFEST))

    def looked() -> bool:
        fetch(edge.port, MANIFEST)
        return len(log_of(upstream, MANIFEST)) > seen

    wait_until(looked, "upstream is asked")
    reply = fetch(edge.port, MANIFEST)
    upstream.control.settle(CHANNEL)
    return reply.status, reply.sha256
