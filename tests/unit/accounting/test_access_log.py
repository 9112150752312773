"""`mirror.accounting.access_log`: nobody waits for it, and what is lost is counted."""

from __future__ import annotations

import json
import os
import resource
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mirror.accounting.access_log import AccessLog, open_access_log
from mirror.accounting.counters import Counters
from mirror.accounting.layout import layout_of
from mirror.accounting.log_file import check_access_log
from mirror.accounting.records import HitForm, HitKind
from mirror.clock import SystemClock
from mirror.config import ByteSize, Config, Log, Store
from mirror.errors import ConfigError
from tests.scenario.edge import wait_until
from tests.unit.accounting.log_records import FETCH, REQUEST, request

CLEAN, REFUSED = REQUEST, request(outcome="refused", status=400)
HIT = (HitKind(HitForm(REQUEST), "/a", 5, 6, "hit"), 1.0, 0.1)
FAILED, CUT = request(outcome="failed", status=503), request(is_complete=False)


class Events:
    """Keeps the names of what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def info(self, event: str, /, **_: object) -> None:
        self.told.append(event)

    warning = error = info


@dataclass
class Setting:
    """A folder, its counters, and logs into it."""

    folder: Path
    counters: Counters
    events: Events

    @property
    def path(self) -> Path:
        return self.folder / "access.jsonl"

    def open(self, *, one_in: int = 1, buffer: int = 1 << 20, path: str = "") -> AccessLog:
        log = self.not_started(one_in=one_in, buffer=buffer, path=path)
        log.start()
        return log

    def not_started(
        self, *, one_in: int = 1, buffer: int = 1 << 20, path: str = "", chance: float = 0.0
    ) -> AccessLog:
        config = Config(
            log=Log(access=path or str(self.path), sample_one_in=one_in, buffer=ByteSize(buffer))
        )
        clock = SystemClock()
        return AccessLog(config, self.counters, clock, self.events, chance=lambda: chance)

    @property
    def written(self) -> int:
        return self._total("log_lines_written")

    @property
    def dropped(self) -> int:
        return self._total("log_lines_dropped")

    def _total(self, name: str) -> int:
        return self.counters.view[self.counters.layout.row("total", name)]

    def lines(self, path: Path | None = None) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (path or self.path).read_bytes().splitlines()]


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    folder = tmp_path / "log"
    folder.mkdir()
    counters = Counters.open(str(tmp_path), 0, layout_of())
    yield Setting(folder=folder, counters=counters, events=Events())
    counters.close()
    alive = [thread.name for thread in threading.enumerate() if thread.name == "access log"]
    assert alive == []


async def test_what_was_written_is_in_the_file_when_it_is_closed(setting: Setting) -> None:
    log = setting.open()
    log.write([CLEAN, REFUSED])
    log.write_fetches([FETCH])
    log.write_hits([HIT])
    log.write([])
    log.write_hits([])
    await log.aclose()
    await log.aclose()
    kinds = [line["type"] for line in setting.lines()]
    assert kinds == ["request", "request", "fetch", "request"]
    assert (setting.written, setting.dropped, setting.events.told) == (4, 0, [])
    assert setting.path.stat().st_mode & 0o777 & ~0o640 == 0
    assert repr(log) == f"<AccessLog {setting.path} 0 bytes waiting>"


async def test_lines_come_without_closing_and_in_order(setting: Setting) -> None:
    log = setting.open()
    for number in range(500):
        log.write([request(content_bytes=number)])
    wait_until(lambda: setting.written == 500, "all lines are written")
    await log.aclose()
    assert [line["bytes"] for line in setting.lines()] == list(range(500))


async def test_a_moved_file_is_followed_by_a_new_one_and_no_line_is_lost(setting: Setting) -> None:
    log = setting.open()
    log.write([CLEAN])
    wait_until(lambda: setting.written == 1, "the first line is written")
    moved = setting.path.rename(setting.folder / "access.1")
    log.write([REFUSED])
    wait_until(setting.path.exists, "there is a new file")
    setting.path.unlink()
    log.write([FAILED])
    await log.aclose()
    assert [line["status"] for line in setting.lines(moved)] == [200]
    assert [line["status"] for line in setting.lines()] in ([503], [400, 503])
    assert (setting.written, setting.dropped) == (3, 0)


async def test_a_file_cut_by_copytruncate_goes_on_at_its_start(setting: Setting) -> None:
    log = setting.open()
    log.write([CLEAN])
    wait_until(lambda: setting.written == 1, "the first line is written")
    os.truncate(setting.path, 0)
    log.write([REFUSED])
    await log.aclose()
    assert [line["status"] for line in setting.lines()] == [400]


async def test_lines_wait_while_the_file_cannot_be_opened(setting: Setting) -> None:
    setting.folder.rmdir()
    log = setting.open()
    log.write([CLEAN])
    wait_until(lambda: "access-log-failed" in setting.events.told, "the failure is told")
    log.write([REFUSED])
    setting.folder.mkdir()
    wait_until(lambda: setting.written == 2, "the lines are written")
    await log.aclose()
    assert [line["status"] for line in setting.lines()] == [200, 400]
    wait_until(lambda: "access-log-recovered" in setting.events.told, "the end of it is told")
    assert setting.events.told == ["access-log-failed", "access-log-recovered"]


async def test_what_can_be_written_nowhere_is_counted_as_dropped(setting: Setting) -> None:
    setting.folder.rmdir()
    log = setting.open()
    log.write([CLEAN, CLEAN])
    await log.aclose()
    log.write([CLEAN])  # too late: nobody counts for what is closed
    assert (setting.written, setting.dropped) == (0, 2)
    setting.folder.mkdir()


async def test_what_does_not_fit_into_the_buffer_is_dropped_told_once_and_counted(
    setting: Setting,
) -> None:
    one = len(json.dumps(REQUEST.target)) + 600
    log = setting.not_started(buffer=3 * one)
    for _ in range(10):
        log.write([CLEAN, CLEAN])
    assert setting.events.told == ["access-log-behind"]
    log.start()
    await log.aclose()
    assert 2 <= setting.written < 10
    assert setting.written + setting.dropped == 20
    assert len(setting.lines()) == setting.written


async def test_a_pipe_that_nobody_reads_holds_up_nobody_and_loses_only_what_is_beyond_the_buffer(
    setting: Setting,
) -> None:
    os.mkfifo(setting.path)
    reader = os.open(setting.path, os.O_RDONLY | os.O_NONBLOCK)
    log = setting.open(buffer=200_000)
    for _ in range(2000):  # a pipe takes 64 KiB
        log.write([CLEAN])
    assert setting.dropped > 0
    wait_until(lambda: setting.events.told == ["access-log-behind"], "it is told")
    received = bytearray()

    def all_received() -> bool:
        with os.fdopen(os.dup(reader), "rb", buffering=0) as file:
            received.extend(file.read(1 << 20) or b"")
        return received.count(b"\n") + setting.dropped == 2000

    wait_until(all_received, "what was not dropped is received")
    await log.aclose()
    os.close(reader)
    assert all(json.loads(line) for line in received.splitlines())


@pytest.mark.full
async def test_lines_stuck_before_a_pipe_without_reader_are_counted_as_dropped(
    setting: Setting,
) -> None:
    os.mkfifo(setting.path)
    log = setting.open()
    log.write([CLEAN] * 3)
    await log.aclose()  # waits for CLOSE_S
    assert (setting.written, setting.dropped) == (0, 3)
    reader = os.open(setting.path, os.O_RDONLY | os.O_NONBLOCK)

    def is_over() -> bool:
        return "access log" not in {each.name for each in threading.enumerate()}

    wait_until(is_over, "the thread ends")
    os.close(reader)
    assert (setting.written, setting.dropped) == (0, 3)


@pytest.mark.parametrize(
    ("chance", "kept"),
    [pytest.param(0.0999, [200], id="chosen"), pytest.param(0.1, [], id="not-chosen")],
)
async def test_a_sample_keeps_all_trouble_and_says_what_a_line_stands_for(
    setting: Setting, chance: float, kept: list[int]
) -> None:
    log = setting.not_started(one_in=10, chance=chance)
    log.start()
    log.write([CLEAN, REFUSED, FAILED, CUT])
    log.write_fetches([FETCH])
    await log.aclose()
    lines = setting.lines()
    troubled = [(400, 1), (503, 1), (200, 1), (200, 1)]
    found = [(line["status"], line["weight"]) for line in lines]
    assert found == [(status, 10) for status in kept] + troubled
    assert setting.written == len(lines)


async def test_two_processes_lines_do_not_mix(setting: Setting) -> None:
    other = Setting(setting.folder, setting.counters, setting.events)
    logs = [setting.open(), other.open()]
    for number in range(200):
        for log in logs:
            log.write([request(content_bytes=number)] * 5)
    for log in logs:
        await log.aclose()
    assert len(setting.lines()) == 2000


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
async def test_a_full_device_is_told_and_keeps_nobody_from_ending(setting: Setting) -> None:
    log = setting.open(path="/dev/full")
    log.write([CLEAN])
    wait_until(lambda: setting.events.told == ["access-log-failed"], "the failure is told")
    await log.aclose()
    assert (setting.written, setting.dropped) == (0, 1)


async def test_a_line_cut_by_a_full_disk_is_written_again_on_a_line_of_its_own(
    setting: Setting,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = setting.open()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))  # as if the disk were full there
    try:
        for number in range(300):
            log.write([request(content_bytes=number)])
        wait_until(lambda: setting.events.told == ["access-log-failed"], "the failure is told")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    wait_until(lambda: setting.written == 300, "all lines are written")
    await log.aclose()
    raw = setting.path.read_bytes().splitlines()
    whole = [line for line in raw if line.endswith(b"}")]
    assert [json.loads(line)["bytes"] for line in whole] == list(range(300))
    assert len(raw) - len(whole) <= 1


async def test_without_a_path_there_is_no_log(setting: Setting) -> None:
    clock = SystemClock()
    assert open_access_log(Config(), setting.counters, clock, setting.events) is None
    config = Config(log=Log(access=str(setting.path)))
    log = open_access_log(config, setting.counters, clock, setting.events)
    assert log is not None
    log.write([CLEAN])
    await log.aclose()
    assert len(setting.lines()) == 1


def test_a_log_that_could_not_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        store = Store(path=str(tmp_path / "store"))
        with pytest.raises(ConfigError) as caught:
            check_access_log(Config(log=Log(access=str(path)), store=store))
        return caught.value.allowed

    assert refusal(tmp_path) == "the path of a file; this is a directory"
    assert refusal(tmp_path / "absent" / "log") == (
        f"a file in a directory that exists: make {tmp_path / 'absent'}"
    )
    assert "outside store.path" in refusal(tmp_path / "store" / "log")
    check_access_log(Config())
    check_access_log(Config(log=Log(access=str(tmp_path / "log"))))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_log_where_this_user_may_not_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="can write"):
        check_access_log(Config(log=Log(access=str(tmp_path / "log"))))
    tmp_path.chmod(0o700)
