"""The simulator as a process, through its control listener."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from mirror.simulator.process import SimulatorProcess, start_simulator


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with start_simulator(seed=3) as running:
        yield running


def get(url: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request("GET", parts.path)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


def test_state_names_what_is_there(simulator: SimulatorProcess) -> None:
    state = simulator.control.state()
    assert state["fingerprint"] == simulator.fingerprint
    assert state["releases_url"] == simulator.releases_url
    assert state["crates"] >= 300
    assert state["is_serving"] is True


def test_counts_start_again_after_a_reset(simulator: SimulatorProcess) -> None:
    get(f"{simulator.index_url}/1/q")
    assert simulator.control.counts()["classes"]["index"]["requests"] >= 1
    simulator.control.reset_counts()
    assert simulator.control.counts()["total"]["requests"] == 0


def test_scripted_fault_is_seen_and_counted(simulator: SimulatorProcess) -> None:
    rule = {"kind": "status", "status": 500, "path": "/2/io", "count": 1, "name": "once"}
    assert simulator.control.faults(rule) == ["once"]
    statuses = [get(f"{simulator.index_url}/2/io")[0] for _ in range(2)]
    assert statuses == [500, 200]
    assert simulator.control.faults_fired()["once"] == 1
    assert simulator.control.log()[-2]["faults"] == ["once"]
    simulator.control.clear_faults()


def test_registry_changes_by_verbs(simulator: SimulatorProcess) -> None:
    control = simulator.control
    control.publish_crate("fresh", "1.0.0", {"q": "^1"})
    _, first = get(f"{simulator.index_url}/fr/es/fresh")
    assert json.loads(first)["deps"][0]["name"] == "q"
    assert control.yank("fresh", "1.0.0")
    assert json.loads(get(f"{simulator.index_url}/fr/es/fresh")[1])["yanked"] is True
    assert control.yank("fresh", "1.0.0", yanked=False)
    assert control.delete_crate("fresh")
    assert get(f"{simulator.index_url}/fr/es/fresh")[0] == 404
    assert get(f"{simulator.crates_url}/crates/fresh/fresh-1.0.0.crate")[0] == 403
    assert not control.delete_crate("fresh")


def test_advance_publishes(simulator: SimulatorProcess) -> None:
    assert simulator.control.advance("rustup") == "1.29.9"
    assert b"1.29.9" in get(f"{simulator.releases_url}/rustup/release-stable.toml")[1]


def test_upstream_goes_down_and_comes_back(simulator: SimulatorProcess) -> None:
    simulator.control.stop_serving()
    with pytest.raises(ConnectionRefusedError):
        get(f"{simulator.index_url}/1/q")
    simulator.control.resume_serving()
    assert get(f"{simulator.index_url}/1/q")[0] == 200


@pytest.mark.parametrize(
    ("verb", "content"),
    [
        pytest.param("/faults", [{"kind": "explode"}], id="unknown-kind"),
        pytest.param("/advance", {"channel": "gamma"}, id="unknown-channel"),
        pytest.param("/yank", {"name": "q"}, id="member-missing"),
        pytest.param("/faults", ["cut"], id="not-an-object"),
    ],
)
def test_mistake_in_a_verb_is_said(simulator: SimulatorProcess, verb: str, content: object) -> None:
    connection = http.client.HTTPConnection(urlsplit(simulator.control_url).netloc, timeout=10)
    connection.request("POST", verb, json.dumps(content))
    response = connection.getresponse()
    assert response.status == 400
    assert "error" in json.loads(response.read())
    connection.close()


def test_process_ends_when_its_starter_s_end_of_the_pipe_closes() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mirror.simulator", "--exit-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert b"releases_url" in process.stdout.readline()
    process.stdin.close()
    assert process.wait(20) == 0
    process.stdout.close()


def test_stop_ends_the_process_and_may_be_repeated() -> None:
    running = start_simulator()
    running.stop()
    running.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)


def test_releases_are_for_the_target_that_was_asked_for() -> None:
    with start_simulator(host_triple="aarch64-unknown-linux-gnu") as running:
        manifest = get(f"{running.releases_url}/dist/channel-rust-stable.toml")[1]
        assert b'[pkg.rustc.target."aarch64-unknown-linux-gnu"]\navailable = true' in manifest
        assert b'[pkg.rustc.target."x86_64-unknown-linux-gnu"]\navailable = true' not in manifest
        path = "/rustup/dist/aarch64-unknown-linux-gnu/rustup-init"
        assert get(f"{running.releases_url}{path}")[0] == 200


def test_taken_port_is_not_shared(simulator: SimulatorProcess) -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        start_simulator(listen=urlsplit(simulator.releases_url).netloc)


def test_start_that_fails_is_reported() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        start_simulator(listen="192.0.2.1:0")
