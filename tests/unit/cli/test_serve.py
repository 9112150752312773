"""`serve` and `status` as commands, with real processes and no upstream."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.request
from pathlib import Path

from tests.unit.cli.served import events, mirror, run, settings


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
    assert ended.code == 1
    assert "no mirror is running here" in ended.errors
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
