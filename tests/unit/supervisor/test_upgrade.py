"""The trial run of the program on disk, with small programs in its place."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time

import pytest

from mirror.supervisor.handover import HANDOVER_VERSION
from mirror.supervisor.signals import SIGNALS, SignalPipe
from mirror.supervisor.upgrade import TRIAL_FLAG, TRIAL_LIMIT_S, TrialRun, Verdict

GOOD = f'print(\'{{"version": "2", "handover": {HANDOVER_VERSION}}}\')'


def tried(program: str, *, late: bool = False) -> Verdict:
    trial = TrialRun([sys.executable, "-c", program], os.environ, {"page": 1}, 0.0)
    trial.look(TRIAL_LIMIT_S + 1 if late else 0.0)
    _pid, status = os.waitpid(trial.pid, 0)
    trial.end(os.waitstatus_to_exitcode(status))
    assert trial.verdict is not None
    return trial.verdict


def test_program_that_says_who_it_is_passes() -> None:
    assert tried(f"print('noise'); {GOOD}") == Verdict(version="2")


def test_program_gets_the_records_of_the_one_that_runs() -> None:
    program = f"import sys; assert sys.argv[1:] == [{TRIAL_FLAG!r}, '{{\"page\": 1}}']; {GOOD}"
    assert tried(program) == Verdict(version="2")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        pytest.param("import no_such_module", "No module named 'no_such_module'", id="broken"),
        pytest.param("raise SystemExit('error: a\\nhint: b')", "error: a hint: b", id="refuses"),
        pytest.param("import os; os.abort()", "ended with -6 and said: nothing", id="dies"),
        pytest.param("print('hello')", "did not say who it is", id="no-answer"),
        pytest.param("print('[]')", "did not say who it is", id="no-object"),
        pytest.param('print(\'{"version": "2", "handover": 9}\')', "version 9", id="other"),
    ],
)
def test_program_that_cannot_take_over_is_refused_with_its_words(program: str, words: str) -> None:
    assert words in tried(program).refusal


def test_program_that_never_ends_is_killed() -> None:
    assert "longer than" in tried("import time; time.sleep(600)", late=True).refusal


def test_program_that_is_absent_is_an_error_and_leaves_nothing_open() -> None:
    gc.collect()  # what earlier tests dropped is closed now, not between the two looks
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        TrialRun(["/no/such/program"], {}, {}, 0.0)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_signals_before_a_handover_are_told_and_those_during_it_wait() -> None:
    kept = {number: signal.getsignal(number) for number in SIGNALS}
    pipe = SignalPipe()
    pipe.open()
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        with pipe.held_back() as late:
            assert late == [signal.SIGHUP]
            # To this thread: threads that other tests left do not hold it back.
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
            assert pipe.taken() == []
            assert signal.SIGUSR2 in signal.sigpending()
        deadline_at = time.monotonic() + 10
        while not (found := pipe.taken()) and time.monotonic() < deadline_at:
            pipe.wait(0.1)
        assert found == [signal.SIGUSR2]
    finally:
        pipe.close()
        for number in SIGNALS:
            signal.signal(number, kept[number])
