"""Events are one ASCII JSON line, kept in bounded files that outlive their process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mirror.events import KEPT_BYTES, MAX_LINE_BYTES, latest_events, open_events


def read_all(fd: int) -> bytes:
    content = b""
    while chunk := os.read(fd, 65536):
        content += chunk
        if content.endswith(b"\n"):
            break
    return content


def emitted(event: str, fields: dict[str, Any]) -> bytes:
    read_fd, write_fd = os.pipe()
    try:
        open_events("keeper", None, stderr_fd=write_fd).warning(event, **fields)
        return read_all(read_fd)
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_line_has_the_fixed_fields_first() -> None:
    event = json.loads(emitted("digest-mismatch", {"key": "k"}))
    assert list(event) == ["time", "level", "event", "process", "pid", "key"]
    assert (event["level"], event["event"], event["process"]) == (
        "warning",
        "digest-mismatch",
        "keeper",
    )
    assert event["pid"] == os.getpid()
    assert event["time"].endswith("+00:00")


def test_outside_text_cannot_forge_a_line_or_drive_a_terminal() -> None:
    line = emitted("x", {"text": "a\nb\x1b[31m\u202e\u2028", "raw": b"\xff\n"})
    assert line.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in line.rstrip(b"\n"))


def test_long_line_is_cut_and_stays_json() -> None:
    line = emitted("x", {"text": "a" * 100_000, "short": 1})
    assert len(line) <= MAX_LINE_BYTES + 1
    assert json.loads(line)["cut"] is True


def test_latest_events_of_all_processes_come_in_order(tmp_path: Path) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    logs = [open_events(name, str(tmp_path), stderr_fd=null) for name in ("keeper", "worker-0")]
    for number in range(6):
        logs[number % 2].info("step", number=number)
    os.close(null)
    assert [event["number"] for event in latest_events(str(tmp_path), 4)] == [2, 3, 4, 5]


def test_kept_files_are_bounded_and_keep_the_latest(tmp_path: Path) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    log = open_events("keeper", str(tmp_path), stderr_fd=null)
    for number in range(800):
        log.info("step", number=number, filler="x" * 200)
    os.close(null)
    sizes = [path.stat().st_size for path in (tmp_path / "events").iterdir()]
    assert len(sizes) <= 2
    assert max(sizes) < KEPT_BYTES + MAX_LINE_BYTES
    assert latest_events(str(tmp_path), 100)[-1]["number"] == 799
    assert len(latest_events(str(tmp_path), 100)) == 100


def test_torn_and_foreign_lines_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / "keeper.jsonl").write_bytes(b'{"time": "1", "event": "a"}\n[1]\n{"time": "2", "ev')
    assert latest_events(str(tmp_path)) == [{"time": "1", "event": "a"}]


def test_closed_standard_error_and_absent_directory_lose_the_line_only() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    os.close(write_fd)
    open_events("keeper", "/proc/nothing/here", stderr_fd=write_fd).error("lost")


def test_event_log_does_not_bring_rich_into_a_worker() -> None:
    program = (
        "import sys; from mirror.events import open_events; open_events('w', None).info('x');"
        "sys.exit(any(name.split('.')[0] == 'rich' for name in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, stderr=subprocess.DEVNULL)
    assert ended.returncode == 0
