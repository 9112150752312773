"""The scenarios as locust runs them; `python -m benchmarks.load` prepares and starts it.

Rules:
1. A user is a runner that lives one job after the other; the clients are in `jobs`, without a
   word of locust, so that tests can drive them.
2. Every answer is judged in `records` and told to locust, whose report shows it.
3. The summary says how busy this process was: where it had no processor time left, times and rates
   are its own, not the mirror's.

Units: seconds, bytes; locust takes milliseconds. Runs in: benchmark, in .venv-load only.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

# It lives in .venv-load, where mypy does not look. It patches sockets, sleeps and threads.
import locust  # type: ignore[import-not-found]
from locust import User, constant, events

from benchmarks.load.answers import RUSTUP_AGENT, Answer, Question, Verdict
from benchmarks.load.board import Board
from benchmarks.load.doors import door_of, source_address
from benchmarks.load.http1 import ask_once
from benchmarks.load.http2 import AtOnce
from benchmarks.load.jobs import Runner
from benchmarks.load.records import Counts
from benchmarks.load.stage import SUMMARY_NAME, VARIABLE, Stage, read_stage

_REPORT_EVERY_S = 5.0
_SATURATED_RATIO = 0.95  # of one core: gevent has no second one


class WrongBodyError(Exception):
    """What came is not what its publisher states."""


class FailedError(Exception):
    """Nothing whole came, or not with the right status."""


class Crowd:
    """What all users of this process share."""

    def __init__(self, stage: Stage, folder: Path, environment: Any) -> None:
        self.stage = stage
        self.board = Board()
        self.counts = Counts()
        self.door = door_of(stage.url)
        self.numbers = count(1)
        self._folder = folder
        self._environment = environment
        self._began_at = time.monotonic()
        self._busy_s: list[float] = []  # of each second of the run
        for work in (self._watch, self._measure):
            threading.Thread(target=work, daemon=True).start()

    def record(self, name: str, answer: Answer) -> bool:
        verdict, reason = self.counts.add(name, answer)
        error: Exception | None = None
        if verdict is not Verdict.RIGHT:
            kind = WrongBodyError if verdict is Verdict.WRONG else FailedError
            error = kind(reason)
        self._environment.events.request.fire(
            request_type=name.partition(" ")[0],
            name=name,
            response_time=answer.took_s * 1000,
            response_length=answer.length_bytes,
            exception=error,
            context={},
        )
        most = self.stage.most_bytes
        if most and self.counts.received_bytes > most and not self.board.is_over:
            print(f"{most >> 20} MiB have been received, which is the limit: the run ends")
            self.board.close()
            self._environment.runner.quit()
        return verdict is Verdict.RIGHT

    def runner(self) -> Runner:
        number = next(self.numbers)
        door = dataclasses.replace(self.door, source=source_address(self.door, number))
        return Runner(
            number, catalogue=self.stage.catalogue, door=door, board=self.board,
            record=self.record, pause_s=self.stage.pause_s,
        )  # fmt: skip

    def plant(self) -> None:
        """Ask for one archive and one crate of which a byte is turned on the way."""
        archive = min(self.stage.catalogue.archives(), key=lambda item: item.length_bytes)
        crate = self.stage.catalogue.crates[0].archive
        questions = [
            Question(item=item, agent=RUSTUP_AGENT, is_planted=True) for item in (archive, crate)
        ]
        self.record("planted archive", ask_once(self.door, questions[0]))
        connection = AtOnce(self.door)
        for answer in connection.ask_all(questions[1:]):
            self.record("planted crate", answer)
        connection.close()

    def write_summary(self) -> None:
        """Write what was seen; the exit status is 1 unless it is good."""
        faults = self.counts.faults(self.stage.awaited_jobs)
        document = {
            "is_good": not faults,
            "faults": faults,
            "locust": locust.__version__,
            "took_s": round(time.monotonic() - self._began_at, 1),
            **self.counts.figures(),
            "client_cpu_ratio": _mean(self._busy_s),
            "client_saturated_ratio": _mean([each >= _SATURATED_RATIO for each in self._busy_s]),
            "names": {name: self._times(name) for name in sorted(self.counts.verdicts)},
        }
        (self._folder / SUMMARY_NAME).write_text(json.dumps(document, indent=1) + "\n")
        self._environment.process_exit_code = 0 if not faults else 1

    def _times(self, name: str) -> dict[str, object]:
        entry = self._environment.stats.get(name, name.partition(" ")[0])
        quantiles = {
            f"p{percent}_ms": entry.get_response_time_percentile(percent / 100)
            for percent in (50, 95, 99)
        }
        verdicts = self.counts.verdicts[name]
        return {
            "requests": verdicts.total(),
            "failed": verdicts[Verdict.FAILED],
            "wrong": verdicts[Verdict.WRONG],
            "bytes": entry.total_content_length,
            **quantiles,
        }

    def _watch(self) -> None:
        self.board.watch(self._folder)

    def _measure(self) -> None:
        """Measure how busy each second is, and report now and then, until the day is over."""
        reported_at = self._began_at
        while not self.board.is_over:
            began_at, used_s = time.monotonic(), time.process_time()
            time.sleep(1.0)
            now = time.monotonic()
            self._busy_s.append((time.process_time() - used_s) / (now - began_at))
            if now - reported_at >= _REPORT_EVERY_S:
                reported_at = now
                self._report(now - self._began_at)

    def _report(self, at_s: float) -> None:
        counts = self.counts
        print(
            f"{at_s:5.0f} of {self.stage.seconds:.0f} s: {counts.jobs_under_way} jobs under way, "
            f"{counts.jobs.total()} done, {counts.total()} requests, "
            f"{counts.total(Verdict.FAILED)} failed, {counts.total(Verdict.WRONG)} wrong, "
            f"{counts.received_bytes >> 20} MiB, client at {100 * _mean(self._busy_s[-5:]):.0f} % "
            "of a core",
            flush=True,
        )


def _mean(values: list[float] | list[bool]) -> float:
    return round(sum(values) / max(len(values), 1), 3)


def _live(user: Any) -> None:
    """Live one job; what breaks off is not counted as one."""
    crowd: Crowd = user.environment.crowd
    if crowd.stage.is_planted:
        crowd.plant()
        user.environment.runner.quit()
        return
    name = ""
    crowd.counts.begin_job()
    try:
        name = user.runner.live_one_job()
    except Exception as exc:
        crowd.counts.crash_job(exc)
        raise  # locust logs it
    finally:
        crowd.counts.end_job(name)


class ContinuousIntegration(User):  # type: ignore[misc] # locust is not where mypy runs
    """One simulated runner."""

    wait_time = constant(0)  # jobs rest by themselves, and wake for a release
    tasks = [_live]  # noqa: RUF012 # locust's own way of saying it

    def on_start(self) -> None:
        self.runner = self.environment.crowd.runner()


def _began(environment: Any, **_: Any) -> None:
    path = Path(os.environ[VARIABLE])
    environment.crowd = Crowd(read_stage(path), path.parent, environment)


def _stopping(environment: Any, **_: Any) -> None:
    environment.crowd.board.close()


def _quitting(environment: Any, **_: Any) -> None:
    environment.crowd.write_summary()


events.init.add_listener(_began)
events.test_stopping.add_listener(_stopping)
events.quitting.add_listener(_quitting)
