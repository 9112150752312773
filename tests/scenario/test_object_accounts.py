"""Downloads, top objects and curve of a real mirror: told by workers, kept by the keeper."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.cli.history import open_history
from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until

CRATE = "/crates/heavy/heavy-1.0.0.crate"
KEY = "crates:" + CRATE
CARGO = {"User-Agent": "cargo/1.95.0 (f2d3ce0bd 2026-03-21)"}
BROWSER = {"User-Agent": "curl/8.14.1"}
SETTINGS = {"accounting.downloads": "true"}


def counts(edge: Edge) -> tuple[int, int, int]:
    """Return downloads, requests and curve points, from the state directory."""
    with open_history(str(edge.state)) as history:
        downloads = history.downloads(0, 1e12)
        objects = {line.key: line.requests for line in history.objects(0, 1e12, 10)}
        points = history.curve()
    assert {(line.crate, line.version) for line in downloads} <= {("heavy", "1.0.0")}
    return sum(line.downloads for line in downloads), objects.get(KEY, 0), len(points)


def test_what_a_worker_served_is_in_the_books_when_the_mirror_has_stopped(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with Edge(tmp_path, upstream, settings=SETTINGS, workers=1) as edge:
        for fields in (CARGO, BROWSER, CARGO):
            assert edge.get(CRATE, fields)[0] == 200
        assert edge.get(CRATE, {**CARGO, "Range": "bytes=0-9"})[0] == 206
        edge.stop()
        assert counts(edge) == (2, 4, 0)


@pytest.mark.full
def test_books_of_one_life_are_gone_on_with_in_the_next(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with Edge(tmp_path, upstream, settings=SETTINGS) as edge:
        for fields in (CARGO, CARGO, BROWSER, CARGO):
            assert edge.get(CRATE, fields)[0] == 200
        assert edge.get(CRATE, {**CARGO, "Range": "bytes=0-9"})[0] == 206
        edge.stop()
        assert counts(edge) == (3, 5, 0)
        edge.start()
        wait_until(lambda: len(edge.named("worker-connected")) == 4, "both workers have a keeper")
        for _ in range(2):
            assert edge.get(CRATE, CARGO)[0] == 200
        edge.stop()
        assert counts(edge) == (5, 7, 0)
        assert edge.own_faults() == []


@pytest.mark.full
def test_without_the_setting_no_download_is_counted(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with Edge(tmp_path, upstream) as edge:
        assert edge.get(CRATE, CARGO)[0] == 200
        edge.stop()
        assert counts(edge) == (0, 1, 0)
