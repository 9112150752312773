"""What a late child waited for a core, with real processes that fight for one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from mirror.supervisor import starvation
from mirror.supervisor.starvation import LATE_S, MOST_S, Starvation, run_delay_s
from tests.scenario.edge import wait_until

PID = 4711


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    known: dict[int, float] = {}
    monkeypatch.setattr(starvation, "run_delay_s", lambda pid: known.get(pid, 0.0))
    return known


def test_child_that_waited_for_a_core_is_forgiven_that_time(delays: dict[int, float]) -> None:
    seen = Starvation()
    delays[PID] = 100.0  # of its whole life
    assert seen.forgiven_s(PID, 10.0, 10.0 + LATE_S) == 0.0
    delays[PID] = 104.5
    assert seen.forgiven_s(PID, 10.0, 16.0) == 4.5


def test_child_that_waits_for_something_else_is_not(delays: dict[int, float]) -> None:
    seen = Starvation()
    delays[PID] = 100.0
    assert [seen.forgiven_s(PID, 10.0, now) for now in (11.0, 13.0, 16.0)] == [0.0, 0.0, 0.0]


def test_nobody_is_forgiven_for_ever(delays: dict[int, float]) -> None:
    seen = Starvation()
    seen.forgiven_s(PID, 10.0, 11.0)
    delays[PID] = 1e6
    assert seen.forgiven_s(PID, 10.0, 60.0) == MOST_S


def test_a_beat_begins_the_account_anew(delays: dict[int, float]) -> None:
    seen = Starvation()
    seen.forgiven_s(PID, 10.0, 11.0)
    delays[PID] = 5.0
    assert seen.forgiven_s(PID, 15.9, 16.0) == 0.0
    assert repr(seen) == "<Starvation 0 late>"
    assert seen.forgiven_s(PID, 15.9, 17.0) == 0.0
    delays[PID] = 6.0
    assert seen.forgiven_s(PID, 15.9, 18.0) == 1.0


def test_those_who_are_gone_are_forgotten(delays: dict[int, float]) -> None:
    seen = Starvation()
    seen.forgiven_s(PID, 10.0, 11.0)
    seen.forgiven_s(PID + 1, 10.0, 11.0)
    seen.keep({PID})
    assert repr(seen) == "<Starvation 1 late>"


@contextmanager
def spinning(core: int) -> Iterator[int]:
    """A process that wants a core all the time, but may only have this one."""
    program = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_kernel_tells_who_waited_for_a_core_and_who_was_stopped() -> None:
    core = min(os.sched_getaffinity(0))
    with ExitStack() as stack:
        first, second = (stack.enter_context(spinning(core)) for _ in range(2))
        # Two on one core: each waits about half of the time.
        wait_until(lambda: min(run_delay_s(first), run_delay_s(second)) > 0.2, "both have waited")
        os.kill(first, signal.SIGSTOP)
        stopped_at = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped_at > 0.05, "the signal has come")
        before_s = run_delay_s(first)
        wait_until(lambda: time.monotonic() - stopped_at > 0.3, "a while passed")
        assert run_delay_s(first) == before_s


def test_process_that_is_gone_has_waited_for_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert run_delay_s(process.pid) == 0.0
