"""What the kernel says of a process that is silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from mirror.supervisor.children import is_runnable

DEADLINE_S = 20.0


def wait_for(pid: int, wanted: bool) -> None:
    deadline_at = time.monotonic() + DEADLINE_S
    while is_runnable(pid) is not wanted:
        assert time.monotonic() < deadline_at, f"runnable stays {not wanted}"
        time.sleep(0.01)


def test_process_that_reads_its_own_state_is_runnable() -> None:
    assert is_runnable(os.getpid())


def test_process_that_is_gone_is_not_runnable() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert not is_runnable(process.pid)


@pytest.mark.parametrize(
    ("program", "stop", "expected"),
    [
        pytest.param("while True: pass", False, True, id="spinning"),
        pytest.param("while True: pass", True, False, id="stopped"),
        pytest.param("import time; time.sleep(60)", False, False, id="waiting"),
    ],
)
def test_state_of_a_child(program: str, stop: bool, expected: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            if stop:
                process.send_signal(signal.SIGSTOP)
            wait_for(process.pid, expected)
        finally:
            process.kill()
