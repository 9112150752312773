"""`mirror.cli.doctor_checks`: no look hangs, none ends in a trace; what the machine files say."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mirror.cli.doctor_checks import Check, run_checks
from mirror.cli.doctor_machine import granted, mount_of, user_of, write_trial
from mirror.doctor.findings import Finding, Verdict
from mirror.doctor.said import good
from mirror.errors import ConfigError, StoreError


def looked(look: Callable[[], Iterator[Finding]], limit_s: float = 30.0) -> Finding:
    [found] = run_checks([Check(name="it", look=look, limit_s=limit_s)], lambda name: None)
    return found


def failing(error: Exception) -> Callable[[], Iterator[Finding]]:
    def look() -> Iterator[Finding]:
        yield from ()
        raise error

    return look


@pytest.mark.parametrize(
    ("error", "verdict", "told"),
    [
        (StoreError("/s", "denied", hint="ask root"), Verdict.NOTE, "denied"),
        (ConfigError("a.b", "x", "a file"), Verdict.WRONG, "a.b"),
        (PermissionError(errno.EACCES, "Permission denied"), Verdict.NOTE, "Permission denied"),
        (KeyError("surprise"), Verdict.RISK, "KeyError"),
    ],
)
def test_what_a_look_raises_is_a_finding(error: Exception, verdict: Verdict, told: str) -> None:
    found = looked(failing(error))
    assert found.verdict is verdict
    assert told in found.sentence
    assert found.remedy


def test_a_look_that_hangs_is_left_behind() -> None:
    release = threading.Event()

    def look() -> Iterator[Finding]:
        release.wait()
        yield good("it", "late")

    try:
        found = looked(look, limit_s=0.05)
    finally:
        release.set()
    assert found.verdict is Verdict.RISK
    assert "took longer" in found.sentence


def test_what_was_found_before_an_error_is_told() -> None:
    def look() -> Iterator[Finding]:
        yield good("it", "first")
        raise OSError(errno.EIO, "Input/output error")

    found = run_checks([Check(name="it", look=look)], lambda name: None)
    assert [each.verdict for each in found] == [Verdict.GOOD, Verdict.NOTE]


def test_findings_come_in_the_order_of_the_checks() -> None:
    first = threading.Event()

    def one() -> Iterator[Finding]:
        first.wait(30)
        yield good("one", "")

    def two() -> Iterator[Finding]:
        yield good("two", "")
        first.set()

    seen: list[str] = []
    checks = [Check(name="a", look=one, limit_s=30), Check(name="b", look=two, limit_s=30)]
    assert [each.subject for each in run_checks(checks, seen.append)] == ["one", "two"]
    assert seen == ["a", "b"]


def test_a_trial_leaves_nothing_and_tells_its_trouble(tmp_path: Path) -> None:
    assert write_trial(str(tmp_path))[1] == ""
    assert list(tmp_path.iterdir()) == []
    assert write_trial(str(tmp_path / "absent"))[1] == "No such file or directory"


def test_the_machine_is_read() -> None:
    assert mount_of("/proc").file_system == "proc"
    assert mount_of("/proc/self/status").point.startswith("/proc")
    allowed = granted(None)
    assert allowed.memory_bytes is not None
    assert allowed.memory_bytes > 0
    assert not allowed.is_mirrors
    assert granted(1 << 30).is_mirrors is False  # no such process


def test_the_user_is_that_of_the_process(tmp_path: Path) -> None:
    assert user_of(os.getpid(), str(tmp_path)).uid == os.geteuid()
    assert user_of(None, str(tmp_path)).uid == tmp_path.stat().st_uid
    assert user_of(None, str(tmp_path / "absent")).uid == os.geteuid()
