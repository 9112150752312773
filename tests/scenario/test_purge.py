"""`purge` and `gc`: nothing without --yes, durable, known to every worker, and fetched anew."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror.child import CONTROL_SOCKET
from mirror.simulator.process import SimulatorProcess
from mirror.store.points import Point
from tests.faults.board import Victim
from tests.faults.fault_edge import FaultEdge
from tests.scenario.body_checker import known, pinned_to_each_worker, warmed
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import fetch
from tests.scenario.upstream_objects import count_of

CRATE = "/crates/q/q-1.0.0.crate"
CHANNEL = "/dist/channel-rust-stable.toml"


@pytest.fixture(scope="module")
def edge(
    tmp_path_factory: pytest.TempPathFactory, module_simulator: SimulatorProcess
) -> Iterator[Edge]:
    settings = {"control.listen": "127.0.0.1:0"}
    with Edge(tmp_path_factory.mktemp("purge"), module_simulator, settings=settings) as running:
        yield running
    assert running.own_faults() == []


def command(edge: Edge, *words: str) -> tuple[int, dict[str, Any], str]:
    """Return exit status, the JSON that was printed, and standard error."""
    places = ("--set", f"store.path={edge.store}", "--set", f"state.path={edge.state}")
    arguments = [sys.executable, "-m", "mirror", *words, "--json", *places]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    return ended.returncode, json.loads(ended.stdout or "{}"), ended.stderr


def stored_sizes(edge: Edge) -> int:
    return sum(path.stat().st_size for path in edge.blobs().values())


@pytest.mark.full
def test_purge_without_yes_says_what_would_go_and_does_nothing(edge: Edge) -> None:
    [archive] = warmed(edge, 300_000)
    status, sums, _ = command(edge, "purge", archive.path)
    assert (status, sums["is_done"], sums["keys"], sums["blobs"]) == (0, False, 1, 1)
    assert sums["freed_bytes"] >= archive.length
    assert archive.sha256 in edge.blobs()
    assert "hit" in fetch(edge.port, archive.path).cache_status


@pytest.mark.parametrize(
    "length",
    [
        pytest.param(5_000, id="in-memory-tier"),
        pytest.param(300_000, id="file", marks=pytest.mark.full),
    ],
)
def test_purged_object_is_a_miss_on_every_worker_at_once_and_fetched_anew(
    length: int, edge: Edge, upstream: SimulatorProcess
) -> None:
    [archive] = warmed(edge, length)
    pinned = pinned_to_each_worker(edge, 1)
    try:
        for _, client in pinned:  # in every worker's memory
            for _ in range(3):
                assert "hit" in client.fetch(archive.path).cache_status
        upstream.control.reset_counts()
        status, sums, error = command(edge, "purge", archive.path, "--yes")
        assert (status, sums["is_done"], sums["keys"]) == (0, True, 1), error
        assert sums["unaware_workers"] == []
        assert archive.sha256 not in edge.blobs()
        # The answer has come: no worker may have it in its memory any more.
        replies = [client.fetch(archive.path) for _, client in pinned]
        assert len(replies) == 2
        assert "fwd=uri-miss" in replies[0].cache_status
        assert all(known(archive).is_told_right(reply) for reply in replies)
        assert count_of(upstream, archive.key)["requests"] == 1
        assert count_of(upstream, archive.key)["bytes"] == archive.length
    finally:
        for _, client in pinned:
            client.close()


@pytest.mark.full
def test_purge_of_a_prefix_takes_all_of_it_and_nothing_else(edge: Edge) -> None:
    [archive] = warmed(edge, 10_000)
    for path in (CRATE, "/crates/heavy/heavy-1.0.0.crate", "/index/1/q"):
        assert fetch(edge.port, path).status == 200
    wait_until(lambda: "hit" in fetch(edge.port, CRATE).cache_status, "the crate is stored")
    status, sums, error = command(edge, "purge", "--prefix", "/crates/", "--yes")
    assert status == 0, error
    assert sums["keys"] >= 2
    status, sums, _ = command(edge, "purge", "--prefix", "crates:/crates/")
    assert (status, sums["keys"]) == (1, 0)
    assert "hit" in fetch(edge.port, archive.path).cache_status
    assert "hit" in fetch(edge.port, "/index/1/q").cache_status


@pytest.mark.full
def test_purged_channel_goes_with_its_digest_and_signature(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    for suffix in ("", ".sha256", ".asc"):
        assert fetch(edge.port, CHANNEL + suffix).status == 200
    upstream.control.reset_counts()
    status, sums, error = command(edge, "purge", CHANNEL, "--yes")
    assert status == 0, error
    assert sums["keys"] >= 3
    for suffix in ("", ".sha256", ".asc"):
        assert fetch(edge.port, CHANNEL + suffix).status == 200
        assert count_of(upstream, f"releases:{CHANNEL}{suffix}")["requests"] == 1


@pytest.mark.full
def test_purge_of_what_is_not_stored_is_told_by_the_exit_code(edge: Edge) -> None:
    status, sums, _ = command(edge, "purge", "nobody-has-this 9.9.9", "--yes")
    assert (status, sums["keys"]) == (1, 0)
    status, _, error = command(edge, "purge", "--prefix", "/etc/")
    assert status == 2
    assert "--prefix /etc/" in error


def test_tcp_control_listener_purges_nothing(edge: Edge) -> None:
    [archive] = warmed(edge, 10_000)
    [ready] = edge.named("control-ready")[-1:]
    wish = json.dumps({"names": [[archive.key]], "dry_run": False})
    connection = http.client.HTTPConnection(ready["listen"][0], timeout=10)
    try:
        connection.request("POST", "/purge", wish, {"Host": "localhost"})
        assert connection.getresponse().status == 405
    finally:
        connection.close()
    assert "hit" in fetch(edge.port, archive.path).cache_status


def test_verb_that_is_not_understood_is_refused(edge: Edge) -> None:
    for body in (b"", b"{", b'{"names": "x"}', b'{"nonsense": 1}', b'{"prefixes": [1]}'):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(edge.state / CONTROL_SOCKET))
            head = f"POST /purge HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
            sock.sendall(head.encode() + body)
            assert sock.recv(1000).startswith(b"HTTP/1.0 400 ")


@pytest.mark.full
def test_gc_evicts_to_the_size_that_is_asked_for_and_hits_go_on(edge: Edge) -> None:
    archives = warmed(edge, *[200_000] * 12)
    status, would, _ = command(edge, "gc", "--to", "1MiB")
    assert (status, would["is_done"]) == (0, False)
    assert would["evicted_bytes"] > 0
    assert all(archive.sha256 in edge.blobs() for archive in archives)
    status, sums, error = command(edge, "gc", "--to", "1MiB", "--yes")
    assert status == 0, error
    assert sums["used_bytes"] <= 1 << 20
    assert stored_sizes(edge) <= 1 << 20
    for archive in archives:
        assert known(archive).is_told_right(fetch(edge.port, archive.path))


@pytest.mark.full
def test_verbs_open_the_store_themselves_when_no_mirror_runs(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with Edge(tmp_path, upstream) as edge:
        gone, kept = warmed(edge, 300_000, 300_000)
    status, sums, error = command(edge, "purge", gone.path, "--yes")
    assert (status, sums["is_done"], sums["keys"]) == (0, True, 1), error
    assert gone.sha256 not in edge.blobs()
    assert command(edge, "gc", "--yes")[0] == 0
    upstream.control.reset_counts()
    with edge:
        assert "hit" in fetch(edge.port, kept.path).cache_status
        assert known(gone).is_told_right(fetch(edge.port, gone.path))
        assert count_of(upstream, gone.key)["requests"] == 1
    missing = Edge(tmp_path / "nothing", upstream)
    status, _, error = command(missing, "gc", "--yes")
    assert status == 1
    assert "there is no store here" in error


@pytest.mark.full
def test_purge_outlives_a_crash_of_everything_and_a_lost_index(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    index_file = "/index/1/q"  # its digest is stated by nobody: only its record could bring it back
    with Edge(tmp_path, upstream) as edge:
        [archive] = warmed(edge, 300_000)
        assert fetch(edge.port, index_file).status == 200
        wait_until(lambda: "hit" in fetch(edge.port, index_file).cache_status, "it is stored")
        assert command(edge, "purge", archive.path, index_file, "--yes")[0] == 0
        edge.kill_all()
        for path in edge.store.glob("index.db*"):
            path.unlink()
        upstream.control.reset_counts()
        edge.start()
        assert known(archive).is_told_right(fetch(edge.port, archive.path))
        assert fetch(edge.port, index_file).status == 200
        assert count_of(upstream, archive.key)["bytes"] == archive.length
        assert count_of(upstream, f"index:{index_file.removeprefix('/index')}")["requests"] == 1


@pytest.mark.full
@pytest.mark.parametrize("victim", [Victim.KEEPER, Victim.ALL], ids=lambda victim: victim.value)
def test_purge_that_died_behind_its_commit_is_done_and_what_it_took_is_fetched_anew(
    victim: Victim, tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with FaultEdge(tmp_path, upstream) as edge:
        [archive] = warmed(edge, 300_000)
        upstream.control.reset_counts()
        edge.strike(Point.PURGE_COMMITTED, victim)
        wish = {"names": [[archive.key]], "dry_run": False}
        assert edge.tell("/purge", wish) == {}
        assert edge.is_struck
        edge.come_back(victim)
        # What is not acknowledged is said again; until then workers may not know of it.
        wait_until(lambda: "result" in edge.tell("/purge", wish), "the purge is acknowledged")
        assert known(archive).is_told_right(fetch(edge.port, archive.path))
        assert count_of(upstream, archive.key)["bytes"] == archive.length


@pytest.mark.full
def test_gc_after_a_lost_index_takes_nothing_that_would_be_fetched_again(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with Edge(tmp_path, upstream) as edge:
        archives = warmed(edge, 300_000, 20_000)
        assert fetch(edge.port, CRATE).status == 200
        wait_until(lambda: "hit" in fetch(edge.port, CRATE).cache_status, "the crate is stored")
    for path in edge.store.glob("index.db*"):
        path.unlink()
    upstream.control.reset_counts()
    with edge:
        wait_until(lambda: bool(edge.named("index-rescanned")), "the rescan is over")
        status, sums, error = command(edge, "gc", "--yes")
        assert (status, sums["unnamed_blobs"]) == (0, 0), error
        assert fetch(edge.port, CRATE).status == 200
        for archive in archives:
            assert known(archive).is_told_right(fetch(edge.port, archive.path))
            assert count_of(upstream, archive.key)["bytes"] == 0
        assert count_of(upstream, f"crates:{CRATE}")["bytes"] == 0
