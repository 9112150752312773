"""The ledger of a real mirror: it outlives processes, configurations and the counters files."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror.accounting.history import Step
from mirror.accounting.layout import OTHER
from mirror.accounting.totals import read_totals
from mirror.cli.history import open_history
from mirror.simulator.process import SimulatorProcess
from tests.scenario.body_checker import warmed
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import fetch
from tests.scenario.upstream_objects import Archive

GROUPS = '[[group]]\nname = "here"\nnetworks = ["127.0.0.0/8"]\n'


@pytest.fixture
def edge(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    with Edge(tmp_path, upstream) as running:
        yield running


def ask(edge: Edge, archive: Archive, times: int) -> None:
    for _ in range(times):
        assert fetch(edge.port, archive.path).status == 200


def total(edge: Edge) -> dict[str, Any]:
    found: dict[str, Any] = edge.status()["traffic"]["total"]
    return found


def served_bytes(edge: Edge, step: Step) -> dict[str, int]:
    """Return the content bytes of each client group, from the files below the state directory."""
    sums: dict[str, int] = {}
    with open_history(str(edge.state)) as history:
        for line in history.served(0, 1e12, step):
            sums[line.group] = sums.get(line.group, 0) + line.columns["content_bytes"]
    return sums


@pytest.mark.full
def test_sums_survive_kills_and_counters_files_of_a_former_configuration(edge: Edge) -> None:
    [archive] = warmed(edge, 100_000)
    ask(edge, archive, 3)
    before = total(edge)
    edge.send(signal.SIGKILL, "keeper")
    edge.send(signal.SIGKILL, "worker-0")
    wait_until(lambda: len(edge.named("process-died")) == 2 and len(edge.pids()) == 3, "all back")
    assert total(edge) == before
    edge.stop()
    former = read_totals(str(edge.state))
    assert sum(served_bytes(edge, Step.DAY).values()) == before["served_bytes"]

    (edge.root / "groups.toml").write_text(GROUPS)
    edge.write_file(f'[accounting]\ngroups = "{edge.root}/groups.toml"\n')
    edge.start()
    wait_until(lambda: len(edge.named("counters-file-removed")) == 3, "former files are removed")
    assert total(edge) == before
    assert read_totals(str(edge.state)).saved_bytes_total() != former.saved_bytes_total()
    ask(edge, archive, 2)
    wait_until(lambda: total(edge)["requests"] == before["requests"] + 2, "both are counted")
    for _ in ("with a keeper", "without one"):
        for step in Step:
            assert served_bytes(edge, step) == {
                OTHER: before["served_bytes"],
                "here": 2 * archive.length,
            }
        edge.stop()
    assert edge.named("ledger-not-complete") == []


@pytest.mark.full
def test_a_damaged_counters_file_is_told_with_a_remedy_and_the_others_count(edge: Edge) -> None:
    [archive] = warmed(edge, 10_000)
    ask(edge, archive, 1)
    before = total(edge)
    edge.stop()
    damaged = edge.state / "counters.7"
    damaged.write_bytes(b"x" * 4096)
    edge.start()
    wait_until(lambda: bool(edge.named("ledger-not-complete")), "it is told")
    [told] = edge.named("ledger-not-complete")
    assert (told["source"], told["level"]) == (str(damaged), "error")
    assert "move it away" in told["hint"]
    assert total(edge) == before
    assert served_bytes(edge, Step.DAY) == {OTHER: before["served_bytes"]}
