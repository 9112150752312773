"""Events are one ASCII JSON line, kept in bounded files that outlive their process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

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
    assert list(event) == ["time", "level", "event", "process", "pid", "key", "hint"]
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


def filled_pipe() -> tuple[int, int]:
    """Return the ends of a pipe that has room for nothing."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_fd, b"x" * 4096)
    os.set_blocking(write_fd, True)
    return read_fd, write_fd


@pytest.fixture
def impatient() -> Iterator[None]:
    """Turn waiting into a failure instead of a test that never ends."""

    def fail(_number: int, _frame: FrameType | None) -> None:
        pytest.fail("the writer waits")  # not an OSError: losing a line swallows those

    former = signal.signal(signal.SIGALRM, fail)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


@pytest.mark.usefixtures("impatient")
def test_pipe_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    read_fd, write_fd = filled_pipe()
    try:
        log = open_events("keeper", str(tmp_path), stderr_fd=write_fd)
        for number in range(3):
            log.error("step", number=number)
        assert [event["number"] for event in latest_events(str(tmp_path))] == [0, 1, 2]
        os.set_blocking(read_fd, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(read_fd, 65536):
                pass
        log.error("step", number=3)
        told = [json.loads(line) for line in os.read(read_fd, 65536).splitlines()]
        assert [(event["event"], event["process"]) for event in told] == [
            ("events-lost", "keeper"),
            ("step", "keeper"),
        ]
        assert (told[0]["lost"], told[1]["number"]) == (3, 3)
        assert os.get_blocking(write_fd), "it is shared with other programs"
    finally:
        os.close(read_fd)
        os.close(write_fd)


@pytest.mark.usefixtures("impatient")
def test_socket_that_nobody_reads_stops_nobody() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        log = open_events("keeper", None, stderr_fd=ours.fileno())
        log.error("first")
        assert json.loads(theirs.recv(4096))["event"] == "first"
        for _ in range(2000):
            log.error("filling", text="x" * 1000)
        theirs.setblocking(False)
        received = 0
        with contextlib.suppress(BlockingIOError):
            while piece := theirs.recv(65536):
                received += len(piece)
        assert 0 < received < 2000 * 1000


def test_regular_file_as_standard_error_is_appended_to(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as file:
        file.write(b"before\n")
        file.flush()
        open_events("keeper", None, stderr_fd=file.fileno()).info("x")
        os.write(file.fileno(), b"after\n")
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert (lines[0], json.loads(lines[1])["event"], lines[2]) == (b"before", "x", b"after")


def test_processes_that_share_a_full_pipe_go_on() -> None:
    """Room that several are told of is room for one only."""
    program = (
        "import sys; from mirror.events import open_events; log = open_events('w', None)\n"
        "for number in range(300): log.info('step', text='x' * 3000)"
    )
    read_fd, write_fd = os.pipe()
    try:
        started = [
            subprocess.Popen([sys.executable, "-c", program], stderr=write_fd) for _ in range(3)
        ]
        codes = [process.wait(30) for process in started]
    finally:
        os.close(read_fd)
        os.close(write_fd)
        for process in started:
            process.kill()
    assert codes == [0, 0, 0]
