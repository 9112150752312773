"""`serve` and `status` as commands, with real processes and no upstream."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.unit.cli.served import NOBODY, events, mirror, run, settings, wait_for


def pid_of(document: str, name: str) -> int:
    return next(int(p["pid"]) for p in json.loads(document)["processes"] if p["name"] == name)


def test_taken_port_is_told_by_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run(tmp_path, "serve", *settings(tmp_path), "--listen", address)
    assert ended.code == 1
    assert f"error: serve.listen = '{address}': the address is taken" in ended.errors
    assert "Traceback" not in ended.errors


def test_wrong_configuration_starts_nothing(tmp_path: Path) -> None:
    ended = run(tmp_path, "serve", *settings(tmp_path, store__budget="much"))
    assert (ended.code, ended.output) == (1, "")
    assert ended.errors.startswith("error: store.budget = 'much': a size")
    assert not (tmp_path / "state").exists()


def test_unwritable_state_directory_is_told_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run(tmp_path, "serve", *settings(tmp_path, state__path=str(tmp_path / "file" / "x")))
    assert ended.code == 1
    assert ended.errors.startswith("error: state /")
    assert "hint: name a directory" in ended.errors


def test_path_too_long_for_its_sockets_is_refused(tmp_path: Path) -> None:
    ended = run(tmp_path, "serve", *settings(tmp_path, state__path=f"/tmp/{'x' * 100}"))
    assert ended.code == 1
    assert "state.path" in ended.errors


def test_store_or_state_of_a_running_mirror_is_refused(tmp_path: Path) -> None:
    with mirror(tmp_path / "one"):
        same_state = settings(tmp_path / "two", state__path=str(tmp_path / "one" / "state"))
        same_store = settings(tmp_path / "two", store__path=str(tmp_path / "one" / "store"))
        for flags in (same_state, same_store):
            ended = run(tmp_path, "serve", *flags)
            assert ended.code == 1
            assert "another running mirror owns it" in ended.errors
            assert "hint: " in ended.errors


def test_running_mirror_answers_and_tells_its_status(tmp_path: Path) -> None:
    with mirror(tmp_path) as (_process, address):
        with urllib.request.urlopen(f"http://{address}/livez", timeout=10) as response:
            assert response.status == 200
        told = run(tmp_path, "status", "--json", *settings(tmp_path))
        assert told.code == 0
        document = json.loads(told.output)
        assert document["listen"] == [address]
        assert {p["name"] for p in document["processes"]} == {"keeper", "worker-0"}
        page = run(tmp_path, "status", *settings(tmp_path))
        assert "healthy" in page.output
        assert "traffic" in page.output
        quiet = run(tmp_path, "status", "--quiet", *settings(tmp_path))
        assert (quiet.code, quiet.output) == (0, "")


@pytest.mark.full
def test_status_tells_which_upstream_fails_and_why(tmp_path: Path) -> None:
    with mirror(tmp_path) as (_process, address):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://{address}/index/se/rd/serde", timeout=20)
        document = json.loads(run(tmp_path, "status", "--json", *settings(tmp_path)).output)
        page = run(tmp_path, "status", *settings(tmp_path)).output
    health = {upstream["name"]: upstream["urls"][0] for upstream in document["upstreams"]}
    assert (health["index"]["url"], health["index"]["is_failing"]) == (NOBODY, True)
    assert "cannot connect" in health["index"]["last_error"]
    assert health["crates"]["is_failing"] is False
    assert "FAILING" in page


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param(
            "[upstream]\nca_file = '/nonexistent'\n", "upstream.ca_file", id="absent-ca-file"
        ),
        pytest.param(
            "[upstream.crates]\nurls = ['http://192.0.2.1']\nconnect_to = '192.0.2.2:80'\n",
            "upstream.crates.connect_to",
            id="connect-to-of-an-address",
        ),
    ],
)
def test_reload_with_an_unusable_setting_keeps_everything(
    text: str, key: str, tmp_path: Path
) -> None:
    file = tmp_path / "mirror.toml"
    file.touch()
    with mirror(tmp_path, "--config", str(file)) as (process, _address):
        before = run(tmp_path, "status", "--json", *settings(tmp_path)).output
        file.write_text(text)
        process.send_signal(signal.SIGHUP)
        [refused] = wait_for(tmp_path / "log", "reload-refused")
        assert refused["key"] == key
        after = run(tmp_path, "status", "--json", *settings(tmp_path)).output
        for name in ("keeper", "worker-0"):
            assert pid_of(before, name) == pid_of(after, name)


@pytest.mark.full
def test_status_without_a_keeper_is_told_from_files(tmp_path: Path) -> None:
    with mirror(tmp_path) as (process, _address):
        keeper = pid_of(run(tmp_path, "status", "--json", *settings(tmp_path)).output, "keeper")
        process.send_signal(signal.SIGSTOP)  # nobody restarts it
        os.kill(keeper, signal.SIGKILL)
        told = run(tmp_path, "status", "--json", *settings(tmp_path))
        process.send_signal(signal.SIGCONT)
        assert told.code == 1
        processes = {p["name"]: p["is_alive"] for p in json.loads(told.output)["processes"]}
        assert processes["worker-0"] is True
        assert "used_bytes" not in json.loads(told.output)["store"]


def test_status_where_no_mirror_runs_says_so(tmp_path: Path) -> None:
    ended = run(tmp_path, "status", *settings(tmp_path))
    state = str(tmp_path / "state")
    first, hint = ended.errors.splitlines()
    assert (ended.code, first) == (1, f"error: no mirror is running here: state.path = '{state}'")
    assert hint.startswith("hint: start one")
    quiet = run(tmp_path, "status", "--quiet", *settings(tmp_path))
    assert (quiet.code, quiet.output, quiet.errors) == (1, "", "")
    with mirror(tmp_path):
        pass
    assert "no mirror is running here" in run(tmp_path, "status", *settings(tmp_path)).errors


def test_upstream_that_leads_back_here_ends_the_start(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    flags = settings(tmp_path, serve__listen=address, upstream__crates__urls=f"http://{address}")
    ended = run(tmp_path, "serve", *flags)
    assert ended.code == 1
    assert "upstream-is-this-mirror" in ended.errors


def test_term_drains_and_ends_with_code_0(tmp_path: Path) -> None:
    with mirror(tmp_path) as (process, _address):
        process.terminate()
        assert process.wait(20) == 0
    assert [event["event"] for event in events(tmp_path / "log")][-1] == "stopped"
