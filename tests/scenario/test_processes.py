"""What runs, what it carries, and what it says about itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.body_checker import pinned_to_each_worker, warmed
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Client, fetch, send_raw
from tests.scenario.upstream_objects import fresh_archive, requests_total

NOT_IN_WORKERS = {
    "aiobotocore",
    "aiohttp",
    "botocore",
    "cryptography",
    "jinja2",
    "prometheus_client",
    "rich",
}
ROOMS_NOT_IN_WORKERS = ("mirror.control", "mirror.jobs", "mirror.simulator", "mirror.upstream")

# Runs in every Python process of the mirror before its own code: SIGUSR1 makes the process write
# down which modules it holds. The product knows nothing of it.
WITNESS = """
import os, signal, sys

def write_modules(_number, _frame):
    path = os.path.join({folder!r}, str(os.getpid()))
    with open(path + ".part", "w") as file:
        file.write("\\n".join(sys.modules))
    os.replace(path + ".part", path)

signal.signal(signal.SIGUSR1, write_modules)
"""


@pytest.fixture
def edge(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    with Edge(tmp_path, upstream) as running:
        yield running


def traffic_of_every_kind(edge: Edge) -> dict[str, int]:
    """Ask for hits and misses of every class on both workers; return the content bytes by class."""
    archive = fresh_archive(400_000)
    paths = {
        "release": [archive.path, archive.path, "/dist/channel-rust-stable.toml.sha256"],
        "rustup": [
            "/rustup/release-stable.toml",
            "/rustup/archive/1.29.0/x86_64-unknown-linux-gnu/rustup-init",
        ],
        "crate": ["/crates/io/io-1.0.0.crate", "/crates/io/io-1.0.0.crate"],
        "index": ["/index/2/io", "/index/2/io"],
    }
    received = dict.fromkeys(paths, 0)
    for _, client in pinned_to_each_worker(edge, 1):
        with client:
            for name, targets in paths.items():
                for target in targets:
                    reply = client.fetch(target)
                    assert reply.status == 200, (target, reply)
                    received[name] += reply.length
            assert client.fetch(archive.path, {"Range": "bytes=0-9"}).status == 206
            received["release"] += 10
            absent = client.fetch("/dist/channel-rust-1.999.0.toml")
            assert absent.status == 404
            received["release"] += absent.length
            for local in ("/", "/livez", "/readyz", "/index/config.json"):
                assert client.fetch(local).status == 200
    return received


def modules_of(pid: int, folder: Path) -> set[str]:
    os.kill(pid, signal.SIGUSR1)
    path = folder / str(pid)
    wait_until(path.exists, f"process {pid} wrote its modules")
    return set(path.read_text().splitlines())


def test_running_workers_carry_nothing_that_only_the_keeper_needs(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    (tmp_path / "sitecustomize.py").write_text(WITNESS.format(folder=str(folder)))
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with Edge(tmp_path / "edge", upstream, environment={"PYTHONPATH": path}) as edge:
        traffic_of_every_kind(edge)
        held = {name: modules_of(pid, folder) for name, pid in edge.pids().items()}
        supervisor = modules_of(edge.process.pid, folder)
    assert {"aiohttp", "mirror.upstream.pool"} <= held.pop("keeper")  # the witness sees such things
    assert len(held) == 2
    for modules in [*held.values(), supervisor]:
        assert {module.partition(".")[0] for module in modules} & NOT_IN_WORKERS == set()
        strays = {module for module in modules if module.startswith(ROOMS_NOT_IN_WORKERS)}
        assert strays - {"mirror.control"} == set()
    assert all("mirror.serve.connection" in modules for modules in held.values())


def test_status_shows_every_process_alive(mirror: Edge) -> None:
    document = mirror.status()
    shown = {item["name"]: item["pid"] for item in document["processes"]}
    assert shown == mirror.pids()
    assert document["is_healthy"]
    assert all(item["is_alive"] and item["restarts_total"] == 0 for item in document["processes"])
    assert document["listen"] == [f"127.0.0.1:{mirror.port}"]


def test_status_counts_restarts_and_works_without_a_keeper(edge: Edge) -> None:
    edge.send(signal.SIGKILL, "worker-1")
    wait_until(lambda: len(edge.pids()) == 3 and bool(edge.named("process-died")), "it is back")
    restarts = {item["name"]: item["restarts_total"] for item in edge.status()["processes"]}
    assert restarts == {"keeper": 0, "worker-0": 0, "worker-1": 1}
    keeper = edge.pids()["keeper"]
    edge.send(signal.SIGSTOP)  # nobody restarts the keeper
    edge.send(signal.SIGKILL, "keeper")
    wait_until(lambda: "keeper" not in edge.pids(), "the keeper is dead")
    alive = {item["name"]: item["is_alive"] for item in edge.status()["processes"]}
    edge.send(signal.SIGCONT)
    assert alive == {"keeper": False, "worker-0": True, "worker-1": True}
    wait_until(lambda: edge.pids().get("keeper", keeper) != keeper, "the keeper is back")


def test_status_of_no_mirror_is_one_line_and_status_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mirror", "status", "--set", f"state.path={tmp_path}/none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no mirror is running" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_shows_the_latest_events(mirror: Edge, upstream: SimulatorProcess) -> None:
    archive = fresh_archive(300_000)
    upstream.control.faults({"kind": "corrupt", "path": archive.path, "at": 7, "name": "lie"})
    fetch(mirror.port, archive.path)
    event = mirror.event_of("digest-mismatch", archive.key)
    assert upstream.control.faults_fired()["lie"] >= 1
    shown = [item for item in mirror.status()["events"] if item["event"] == "digest-mismatch"]
    assert [(item["key"], item["got"]) for item in shown] == [(archive.key, event["got"])]


def test_counters_agree_with_what_upstream_sent_and_clients_received(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    logged = len(upstream.control.log())
    received = traffic_of_every_kind(edge)
    # The page that comes with a 404 is not read: it counts as far as it has come by then.
    sent = upstream.control.log()[logged:]
    traffic: dict[str, Any] = edge.status()["traffic"]
    objects = sum(record["content_bytes"] for record in sent if record["status"] < 400)
    everything = sum(record["content_bytes"] for record in sent)
    assert objects <= traffic["total"]["fetched_bytes"] <= everything
    assert traffic["total"]["upstream_requests"] == len(sent)
    classes = traffic["classes"]
    assert {name: classes[name]["served_bytes"] for name in received} == received
    for name in received:
        saved = classes[name]["served_bytes"] - classes[name]["fetched_bytes"]
        assert classes[name]["saved_bytes"] == saved
        assert sum(classes[name]["outcomes"].values()) == classes[name]["requests"]


def test_counters_survive_kills_and_a_restart(edge: Edge) -> None:
    [archive] = warmed(edge, 100_000)
    before = edge.status()["traffic"]["total"]
    edge.send(signal.SIGKILL, "worker-0")
    wait_until(lambda: len(edge.pids()) == 3 and bool(edge.named("process-died")), "it is back")
    edge.stop()
    edge.start()
    assert edge.status()["traffic"]["total"] == before
    fetch(edge.port, archive.path)
    after = edge.status()["traffic"]["total"]
    assert after["served_bytes"] == before["served_bytes"] + archive.length


def test_health_does_not_depend_on_upstream(mirror: Edge, upstream: SimulatorProcess) -> None:
    upstream.control.stop_serving()
    for _, client in pinned_to_each_worker(mirror, 1):
        with client:
            assert client.fetch("/livez").content == b"live\n"
            assert client.fetch("/readyz").content == b"ready\n"
    assert requests_total(upstream) == 0


def test_front_page_has_this_host_filled_in(mirror: Edge) -> None:
    page = fetch(mirror.port, "/", {"Host": "rust.corp.example:8443"}).content.decode()
    assert "http://rust.corp.example:8443" in page
    for word in (
        "RUSTUP_DIST_SERVER",
        "RUSTUP_UPDATE_ROOT",
        "sparse+http://rust.corp.example:8443",
    ):
        assert word in page
    for name in ("GitHub", "GitLab", "Docker"):
        assert name in page


def test_host_that_is_no_host_never_reaches_the_front_page(mirror: Edge) -> None:
    received = send_raw(mirror.port, b"GET / HTTP/1.1\r\nHost: a<script>\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"script" not in received


def test_local_sockets_and_state_are_for_this_user_only(mirror: Edge) -> None:
    assert stat.S_IMODE(mirror.state.stat().st_mode) == 0o700
    for name in ("control.sock", "keeper.sock"):
        assert stat.S_IMODE((mirror.state / name).stat().st_mode) == 0o600


def test_control_listener_reads_only_and_answers_to_its_own_names(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with (
        Edge(tmp_path, upstream, settings={"control.listen": f"127.0.0.1:{port}"}),
        Client(port) as client,
    ):
        assert json.loads(client.fetch("/status").content)["is_healthy"]
        assert "version" in json.loads(client.fetch("/version").content)
        assert client.fetch("/status", method="POST").status == 405
        assert client.fetch("/status", {"Host": "rebound.example"}).status == 421


def test_nothing_is_left_open_after_many_requests(edge: Edge) -> None:
    [archive] = warmed(edge, 300_000)

    def open_files() -> dict[str, int]:
        return {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in edge.pids().items()}

    traffic_of_every_kind(edge)
    before = open_files()
    for _ in range(30):
        fetch(edge.port, archive.path)
        fetch(edge.port, fresh_archive(300_000).path)
    wait_until(
        lambda: all(count <= before[name] + 2 for name, count in open_files().items()),
        "connections and files are closed",
    )
