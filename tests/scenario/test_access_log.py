"""The access log and client groups of a running mirror: rotation, reload, and what restarts."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until

CONFIG_JSON = "/index/config.json"
GROUPS = """
[[group]]
name = "first"
header = "X-Runner-Group"
header_values = ["one"]
[[group]]
name = "second"
networks = ["127.0.0.0/8"]
"""


@pytest.fixture
def logged(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    (tmp_path / "groups.toml").write_text(GROUPS)
    settings = {
        "log.access": str(tmp_path / "access.jsonl"),
        "accounting.groups": str(tmp_path / "groups.toml"),
        "serve.trusted_proxies": "127.0.0.1/32",
    }
    with Edge(tmp_path / "edge", upstream, workers=1, settings=settings) as running:
        yield running
    assert running.own_faults() == []


def lines_of(path: Path, kind: str = "request") -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [line for line in lines if line["type"] == kind]


def wait_for_lines(path: Path, count: int, kind: str = "request") -> list[dict[str, Any]]:
    wait_until(lambda: len(lines_of(path, kind)) >= count, f"{count} {kind} lines in {path.name}")
    return lines_of(path, kind)


def wait_for_ready(edge: Edge, count: int) -> None:
    wait_until(lambda: len(edge.named("process-ready")) >= count, f"process {count} is ready")


def test_requests_and_fetches_are_logged_with_their_group_also_after_rotation_and_reload(
    logged: Edge, tmp_path: Path
) -> None:
    path = tmp_path / "access.jsonl"
    index = "/index/1/q"
    expected = 0
    for fields in ({}, {"X-Runner-Group": "one"}, {"X-Runner-Group": "two"}):
        status, _, content = logged.get(index, fields)
        expected += len(content)
        assert status == 200
    lines = wait_for_lines(path, 3)
    assert [line["group"] for line in lines] == ["second", "first", "second"]
    assert sum(line["bytes"] for line in lines) == expected
    assert [line["class"] for line in lines] == ["index"] * 3
    fetched = wait_for_lines(path, 1, "fetch")
    assert [line["upstream"] for line in fetched][:1] == ["index"]

    moved = path.rename(tmp_path / "access.1")
    logged.get(CONFIG_JSON)
    assert wait_for_lines(path, 1)[0]["url"].endswith(CONFIG_JSON)

    path.unlink()
    logged.send(signal.SIGHUP)
    wait_until(lambda: bool(logged.named("reloaded")), "the mirror has reloaded")
    logged.get(CONFIG_JSON)
    assert len(wait_for_lines(path, 1)) == 1
    assert len(lines_of(moved)) == 3


@pytest.mark.full
def test_a_wrong_file_of_groups_changes_nothing_at_reload_nor_for_a_process_that_restarts(
    logged: Edge, tmp_path: Path
) -> None:
    path, groups = tmp_path / "access.jsonl", tmp_path / "groups.toml"
    groups.write_text(GROUPS.replace("127.0.0.0/8", "127.0.0.1/8"))
    logged.send(signal.SIGHUP)
    wait_until(lambda: bool(logged.named("reload-refused")), "the reload is refused")
    refused = logged.named("reload-refused")[0]
    assert refused["key"] == "accounting.groups"
    assert "[[group]] 2 (second): networks = '127.0.0.1/8'" in refused["reason"]
    assert "config check" in refused["hint"]

    for name in ("worker-0", "keeper"):
        before = len(logged.named("process-ready"))
        logged.send(signal.SIGKILL, name)
        wait_for_ready(logged, before + 1)
    logged.get(CONFIG_JSON)
    assert wait_for_lines(path, 1)[-1]["group"] == "second"

    groups.write_text(GROUPS.replace('"second"', '"third"'))
    logged.send(signal.SIGHUP)
    wait_until(lambda: bool(logged.named("reloaded")), "the mirror has reloaded")
    logged.get(CONFIG_JSON)
    assert wait_for_lines(path, 2)[-1]["group"] == "third"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"accounting.groups": "absent.toml"}, "cannot be read", id="groups"),
        pytest.param({"log.access": "absent/log"}, "a directory that exists", id="log"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    tmp_path: Path, upstream: SimulatorProcess, settings: dict[str, str], said: str
) -> None:
    placed = {key: str(tmp_path / name) for key, name in settings.items()}
    status, printed = Edge(tmp_path / "edge", upstream, settings=placed).start_in_vain()
    assert status == 1
    assert said in printed
    assert "Traceback" not in printed
