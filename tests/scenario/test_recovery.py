"""What a restart finds: everything killed, the index lost, power cut, the state database gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from benchmarks.restart_store import RECORDED_OF, content_of, make_store
from mirror.simulator.process import SimulatorProcess
from tests.scenario.body_checker import known, warmed
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import fetch
from tests.scenario.upstream_objects import reference, requests_total, sha256_of

OBJECTS = 3_000
BUDGET = "8GiB"


@pytest.fixture
def edge(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    made = Edge(tmp_path, upstream, settings={"freshness.index": "24h", "store.budget": BUDGET})
    yield made
    if made._process is not None and made._process.poll() is None:
        made.stop()


def printed_status(edge: Edge) -> str:
    command = [sys.executable, "-m", "mirror", "status", "--config", str(edge.root / "mirror.toml")]
    for key, path in (("store.path", edge.store), ("state.path", edge.state)):
        command += ["--set", f"{key}={path}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def forget_boot(edge: Edge) -> None:
    """What a machine finds whose power was cut: an index of another boot, not closed in order."""
    connection = apsw.Connection(str(edge.store / "index.db"))
    connection.execute("UPDATE fact SET value = 'another' WHERE name = 'boot'").fetchall()
    assert connection.changes() == 1
    connection.close()


def served_right(edge: Edge) -> int:
    """Ask for every recorded object; return how many came right."""
    numbers = range(0, OBJECTS, RECORDED_OF)
    replies = [(fetch(edge.port, f"/index/be/nc/bench{n}"), content_of(n)) for n in numbers]
    return sum(reply.status == 200 and reply.content == body for reply, body in replies)


@pytest.mark.full
@pytest.mark.parametrize("loss", ["index", "power"])
def test_objects_are_served_while_the_repair_goes_on_and_nothing_is_fetched(
    edge: Edge, upstream: SimulatorProcess, loss: str
) -> None:
    make_store(str(edge.store), str(edge.state), OBJECTS, BUDGET)
    edge.start()
    assert served_right(edge) == OBJECTS // RECORDED_OF
    edge.kill_all()
    if loss == "index":
        for path in edge.store.glob("index.db*"):
            path.unlink()
    else:
        forget_boot(edge)
        gone = edge.blobs()[sha256_of(content_of(1))]
        gone.unlink()
    upstream.control.reset_counts()
    seen = len(edge.events)
    edge.start()
    assert served_right(edge) == OBJECTS // RECORDED_OF
    wait_until(
        lambda: any(item["event"] == "index-rescanned" for item in edge.events[seen:]),
        "the repair is done",
    )
    assert requests_total(upstream) == 0
    begun = [item for item in edge.events[seen:] if item["event"] == "index-repair-begun"]
    assert [item["need"] for item in begun] == ["rescan" if loss == "index" else "check"]
    done = edge.named("index-rescanned")[-1]
    if loss == "index":
        assert done["blobs"] == OBJECTS
    else:
        assert (done["blobs"], done["dropped"]) == (0, 1)
    assert "repair" not in edge.status()["store"]
    assert edge.own_faults() == []


@pytest.mark.full
def test_lost_index_of_a_killed_mirror_asks_upstream_for_no_object_that_is_here(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    """Not even for the proofs: manifests, index files and `.sha256` files are here as well."""
    edge.start()
    component = "/dist/2026-03-05/cargo-1.94.0-x86_64-unknown-linux-gnu.tar.xz"
    right = sha256_of(reference(f"{upstream.releases_url}{component}"))
    paths = ["/dist/channel-rust-stable.toml", "/index/1/q", "/crates/q/q-1.0.0.crate"]
    before = {path: fetch(edge.port, path).sha256 for path in paths}
    assert fetch(edge.port, component).sha256 == right
    wanted = {right, *(str(digest) for digest in before.values())}
    wait_until(lambda: wanted <= edge.blobs().keys(), "what was answered is on the disk")
    edge.kill_all()
    for path in edge.store.glob("index.db*"):
        path.unlink()
    upstream.control.stop_serving()
    edge.start()
    assert {path: fetch(edge.port, path).sha256 for path in paths} == before
    reply = fetch(edge.port, component)
    assert (reply.status, reply.sha256) == (200, right)


@pytest.mark.full
def test_lost_state_database_is_told_by_event_and_status(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    edge.start()
    [archive] = warmed(edge, 100_000)
    assert "state begun anew" not in printed_status(edge)
    assert edge.named("state-lost") == []
    edge.stop()
    for path in edge.state.glob("state.db*"):
        path.unlink()
    upstream.control.stop_serving()
    edge.start()
    [told] = edge.named("state-lost")
    assert "backup" in told["hint"]
    assert known(archive).is_told_right(fetch(edge.port, archive.path))
    assert edge.status()["state"]["lost_at"] > 0
    assert "newest date per channel and histories of crates" in printed_status(edge)
    edge.stop()
    edge.start()
    assert len(edge.named("state-lost")) == 1  # told once; `status` remembers
    assert edge.status()["state"]["lost_at"] > 0


@pytest.mark.full
def test_damaged_state_database_is_refused_with_its_way_out(edge: Edge) -> None:
    edge.start()
    [archive] = warmed(edge, 100_000)
    edge.stop()
    path = edge.state / "state.db"
    for log in edge.state.glob("state.db-*"):
        log.unlink()
    path.write_bytes(b"x" * 8192)
    status, printed = edge.start_in_vain()
    assert status != 0
    assert "state.db" in printed
    assert "restore it from a backup, or move it away" in printed
    assert path.read_bytes() == b"x" * 8192  # nobody touched it
    shutil.move(path, edge.state / "state.db.damaged")
    edge.start()
    assert len(edge.named("state-lost")) == 1
    assert known(archive).is_told_right(fetch(edge.port, archive.path))


@pytest.mark.full
def test_state_database_damaged_under_a_running_mirror_stops_no_hit(edge: Edge) -> None:
    edge.start()
    [archive] = warmed(edge, 100_000)
    (edge.state / "state.db").write_bytes(b"x" * 8192)
    for log in edge.state.glob("state.db-*"):
        os.truncate(log, 0)
    keeper = edge.pids()["keeper"]
    os.kill(keeper, 9)
    for _ in range(20):
        assert known(archive).is_told_right(fetch(edge.port, archive.path))
    wait_until(lambda: any("move it away" in line for line in edge.raw_lines), "the damage is told")
    assert known(archive).is_told_right(fetch(edge.port, archive.path))
