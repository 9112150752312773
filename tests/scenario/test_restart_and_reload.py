"""The life of a mirror: it drains, reloads, grows, comes back, and owns its store alone."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.body_checker import (
    BodyChecker,
    Readers,
    known,
    pinned_to_each_worker,
    warmed,
)
from tests.scenario.edge import DEADLINE_S, Edge, wait_until
from tests.scenario.exchange import Client, fetch
from tests.scenario.upstream_objects import (
    fresh_archive,
    sha256_of,
)


@pytest.fixture
def edge(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    with Edge(tmp_path, upstream) as running:
        yield running


# Stopping.


def test_sigterm_lets_a_transfer_finish_and_ends_with_0(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(1_500_000)
    upstream.control.faults(
        {"kind": "rate", "path": archive.path, "bytes_per_s": 1_500_000, "name": "slow"}
    )
    with Client(edge.port) as client:
        response = client.begin(archive.path)
        first = response.read(1000)
        edge.send(signal.SIGTERM)
        wait_until(lambda: bool(edge.named("draining")), "the mirror drains")
        assert sha256_of(first + response.read()) == archive.sha256
        assert response.getheader("Connection") in (None, "close")
    assert edge.process.wait(DEADLINE_S) == 0
    assert upstream.control.faults_fired()["slow"] == 1
    assert edge.own_faults() == []


def test_idle_connection_does_not_delay_the_end(edge: Edge) -> None:
    with Client(edge.port) as client:
        client.fetch("/livez")
        assert edge.stop() == 0
        assert edge.named("drain-deadline") == []


@pytest.mark.full
def test_drain_deadline_ends_a_client_that_never_reads(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    settings = {"serve.drain_timeout": "500ms"}
    archive = fresh_archive(40_000_000)
    with (
        Edge(tmp_path, upstream, settings=settings) as edge,
        socket.create_connection(("127.0.0.1", edge.port), timeout=DEADLINE_S) as sock,
    ):
        sock.sendall(f"GET {archive.path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        sock.recv(1)
        edge.stop()
        assert edge.process.returncode is not None


@pytest.mark.full
def test_dead_supervisor_takes_its_processes_along(edge: Edge) -> None:
    pids = edge.pids()
    assert len(pids) == 3
    edge.process.kill()
    edge.process.wait(DEADLINE_S)
    wait_until(lambda: edge.pids() == {}, "nobody is left")
    edge.start()
    assert fetch(edge.port, "/livez").status == 200


# Reload.


@pytest.fixture
def file_edge(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    """A mirror whose `max_target` comes from its file, so that a reload can change it."""
    edge = Edge(tmp_path, upstream)
    edge.write_file('[serve]\nmax_target = "1KiB"\n')
    with edge as running:
        yield running


def reload(edge: Edge) -> None:
    """SIGHUP, and wait until every process has been replaced."""
    before = set(edge.pids().values())
    edge.send(signal.SIGHUP)

    def is_replaced() -> bool:
        pids = set(edge.pids().values())
        return len(pids) == len(before) and before.isdisjoint(pids)

    wait_until(is_replaced, "every process was replaced")


def test_reload_takes_a_changed_setting_and_fails_no_request(
    file_edge: Edge, upstream: SimulatorProcess
) -> None:
    [warm] = warmed(file_edge, 300_000)
    long_target = "/" + "a" * 700
    assert fetch(file_edge.port, long_target).status == 404
    file_edge.write_file('[serve]\nmax_target = "512"\n')
    with BodyChecker(file_edge.port, [known(warm)], threads=3, requests_each=1) as checker:
        reload(file_edge)
    checker.verdict()
    assert checker.failed_total == 0
    assert fetch(file_edge.port, long_target).status == 414


def test_transfer_in_flight_survives_a_reload(file_edge: Edge, upstream: SimulatorProcess) -> None:
    archive = fresh_archive(1_500_000)
    upstream.control.faults(
        {"kind": "rate", "path": archive.path, "bytes_per_s": 1_500_000, "count": 1, "name": "slow"}
    )
    with Client(file_edge.port) as client:
        response = client.begin(archive.path)
        first = response.read(1000)
        file_edge.send(signal.SIGHUP)
        assert sha256_of(first + response.read()) == archive.sha256
    assert upstream.control.faults_fired()["slow"] == 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('[serve]\nmax_target = "lots"\n', id="wrong-value", marks=pytest.mark.full),
        pytest.param("[serve]\nno_such_key = 1\n", id="unknown-key"),
        pytest.param("[serve\n", id="not-toml", marks=pytest.mark.full),
    ],
)
def test_wrong_configuration_at_reload_changes_nothing(text: str, file_edge: Edge) -> None:
    before = file_edge.pids()
    file_edge.write_file(text)
    file_edge.send(signal.SIGHUP)
    wait_until(lambda: bool(file_edge.named("reload-refused")), "the reload is refused")
    assert file_edge.named("reload-refused")[0]["reason"]
    assert file_edge.pids() == before
    assert fetch(file_edge.port, "/livez").status == 200


def test_workers_are_added_and_removed_by_signal(edge: Edge) -> None:
    [warm] = warmed(edge, 100_000)
    edge.send(signal.SIGTTIN)
    wait_until(lambda: len(edge.pids()) == 4, "there are three workers")
    with Readers(pinned_to_each_worker(edge, 1), known(warm)) as readers:
        wait_until(lambda: readers.right_total > 100, "all three answer")
    assert readers.failed_on == []
    with BodyChecker(edge.port, [known(warm)], threads=3, requests_each=1) as checker:
        for left in (2, 1):
            edge.send(signal.SIGTTOU)
            wait_until(lambda left=left: len(edge.pids()) == left + 1, f"{left} left")  # type: ignore[misc]
        # The removed workers' sockets are served by the one that is left.
        seen = checker.right_total
        wait_until(lambda: checker.right_total > seen + 100, "it answers on every socket")
    checker.verdict()
    assert checker.failed_total == 0


# Refusals at start.


def test_second_mirror_on_the_same_store_is_refused_with_a_sentence(
    mirror: Edge, tmp_path: Path, upstream: SimulatorProcess
) -> None:
    other = Edge(tmp_path / "other", upstream, settings={"store.path": str(mirror.store)})
    status, printed = other.start_in_vain()
    assert status == 1
    assert "another running mirror owns it" in printed
    assert str(mirror.store) in printed
    assert "Traceback" not in printed
    assert fetch(mirror.port, "/livez").status == 200


def test_second_mirror_with_the_same_state_is_refused(
    mirror: Edge, tmp_path: Path, upstream: SimulatorProcess
) -> None:
    other = Edge(tmp_path / "other", upstream, settings={"state.path": str(mirror.state)})
    status, printed = other.start_in_vain()
    assert status == 1
    assert "another running mirror owns it" in printed


def test_taken_port_is_named(mirror: Edge, tmp_path: Path, upstream: SimulatorProcess) -> None:
    taken = f"127.0.0.1:{mirror.port}"
    other = Edge(tmp_path / "other", upstream, settings={"serve.listen": taken})
    status, printed = other.start_in_vain()
    assert status == 1
    assert taken in printed
    assert "taken" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        pytest.param("serve.workers", "many", ["serve.workers", "many"], marks=pytest.mark.full),
        ("serve.max_target", "1", ["serve.max_target", "256"]),
        pytest.param("serve.listne", "127.0.0.1:1", ["serve.listne"], marks=pytest.mark.full),
        ("trust.release_key_file", "/dev/null", ["trust.release_key_file", "is not the key"]),
        pytest.param(
            "trust.channel_manifest",
            "none",
            ["trust.channel_manifest", '"digest"'],
            marks=pytest.mark.full,
        ),
        pytest.param(
            "serve.tls_listen",
            "127.0.0.1:8443",
            ["serve.tls.certificate", "dev-cert"],
            marks=pytest.mark.full,
        ),
        ("upstream.releases.urls", "s3:///x", ["upstream.releases.urls", "s3://bucket"]),
    ],
)
def test_wrong_setting_names_key_value_and_what_is_allowed(
    key: str, value: str, words: list[str], tmp_path: Path, upstream: SimulatorProcess
) -> None:
    status, printed = Edge(tmp_path, upstream, settings={key: value}).start_in_vain()
    assert status in (1, 2)
    assert [word for word in words if word not in printed] == []
    assert "Traceback" not in printed


def test_upstream_that_is_this_mirror_is_refused_at_start(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        own = f"127.0.0.1:{reserved.getsockname()[1]}"
    settings = {"serve.listen": own, "upstream.releases.urls": f"http://{own}"}
    status, printed = Edge(tmp_path, upstream, settings=settings).start_in_vain()
    assert status == 1
    assert "upstream.releases.urls" in printed
