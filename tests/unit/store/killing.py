"""Run by `test_store_kill`: forks victims that kill themselves, then a survivor that checks.

A program of its own, because forking is safe only in a process without threads and without an
open database.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench
from tests.unit.store.steps import STEPS, Step, check_accounts, check_state, prepare

_MOST_CALLS = 400


class KillFiles(FaultFiles):
    """Sends SIGKILL to its own process just before the chosen call."""

    def __init__(self) -> None:
        super().__init__()
        self.kill_at = 0

    def _count(self, method: str, subject: str) -> None:
        super()._count(method, subject)
        if len(self.calls) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def _in_child(run: Callable[[], None]) -> int:
    """Run in a fork; return its exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _prepare(bench: Bench) -> None:
    store = bench.open()
    prepare(store)
    store.close()


def _victim(bench: Bench, step: Step, call: int) -> None:
    files = KillFiles()
    store = bench.open(files)
    files.calls.clear()
    files.kill_at = call
    step.run(store)


def _survivor(bench: Bench, step: Step) -> None:
    check_state(bench, step)
    store = bench.open()
    check_state(bench, step)
    check_accounts(bench, store)
    step.run(store)
    assert dict(check_state(bench, step)) == dict(step.expected)
    store.close()


def main(root: str, name: str) -> int:
    step = STEPS[name]
    for call in range(1, _MOST_CALLS):
        bench = Bench(f"{root}/{call}", budget_bytes=256 * 1024)
        if _in_child(lambda bench=bench: _prepare(bench)):  # type: ignore[misc] # bound early
            return 1
        ended = _in_child(lambda bench=bench, call=call: _victim(bench, step, call))  # type: ignore[misc] # bound early
        if ended not in (0, -signal.SIGKILL):
            return 1
        if _in_child(lambda bench=bench: _survivor(bench, step)):  # type: ignore[misc] # bound early
            print(f"at call {call}")
            return 1
        bench.page.close()
        if ended == 0:
            print(call)
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
