"""One run of locust: first the planted wrong bodies, then the load, then the verdict.

Rules:
1. Before any load locust is run for a moment with wrong bodies planted; unless it convicts each of
   them and ends with status 1, the run is refused: its zeros would mean nothing.
2. locust is a process of `.venv-load`, started and ended here by its id; Ctrl-C lets it finish what
   is under way and write its summary.
3. A summary is made for every run; one that is missing is a failed run.

Units: seconds. Runs in: benchmark.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.load.stage import SUMMARY_NAME, VARIABLE, Stage
from benchmarks.results import ROOT

LOCUST = ROOT / ".venv-load" / "bin" / "locust"
PLANTED = 2  # one over HTTP/1.1, one over HTTP/2
_LOCUSTFILE = Path(__file__).parent / "locustfile.py"
_ARRIVAL_S = 10.0  # in which all jobs begin
_PLANT_S = 20.0
_END_S = 90  # for jobs that are under way when the time is over; the slowest takes 8 s by itself

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How much load, and where its files go. `pause_s`: how long a job rests in all."""

    jobs: int
    seconds: float
    pause_s: float
    folder: Path


class NotConvictedError(RuntimeError):
    """The planted wrong bodies were not all found."""


def require_conviction(order: Order, stage: Stage) -> int:
    """Return how many planted wrong bodies locust convicted. Raises NotConvictedError."""
    folder = order.folder / "planted"
    folder.mkdir(exist_ok=True)
    alone = dataclasses.replace(order, jobs=1, seconds=_PLANT_S, folder=folder)
    planted = dataclasses.replace(stage, is_planted=True, awaited_jobs=(), seconds=_PLANT_S)
    with (folder / "locust.log").open("wb") as log, locust(alone, planted, log) as process:
        status = process.wait()
    found = read_summary(folder)
    if status != 1 or found["wrong"] != PLANTED or found["failed"]:
        raise NotConvictedError(
            f"of {PLANTED} planted wrong bodies {found['wrong']} were found, {found['failed']} "
            f"requests failed, exit status {status}: {json.dumps(found['reasons'])}"
        )
    return PLANTED


def put_load(
    order: Order, stage: Stage, meanwhile: Callable[[Path], None] | None = None
) -> Figures:
    """Run and return the summary; `meanwhile` is called with the folder that takes releases.

    Raises: NotConvictedError, RuntimeError.
    """
    convicted = require_conviction(order, stage)
    print(f"the checker convicted {convicted} planted wrong bodies", flush=True)
    with locust(order, stage) as process:
        if meanwhile is not None:
            meanwhile(order.folder)
        status = process.wait()
    found = read_summary(order.folder)
    if found["most_jobs_under_way"] < order.jobs:
        found["faults"].append(f"only {found['most_jobs_under_way']} jobs were under way at once")
    if status and found["is_good"]:
        found["faults"].append(f"locust ended with status {status}")
    return {"jobs_wanted": order.jobs, "planted_convicted": convicted, **found}


@contextlib.contextmanager
def locust(
    order: Order, stage: Stage, output: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run locust for the length of the block, or until it ends by itself.

    `output` None: it prints where this process does.
    """
    summary = order.folder / SUMMARY_NAME
    for path in (summary, *order.folder.glob("release-*")):
        path.unlink(missing_ok=True)  # of an earlier run
    environment = {
        **os.environ,
        VARIABLE: str(stage.write(order.folder)),
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        _command(order), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
        stdout=output, stderr=subprocess.STDOUT if output else None,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C is for locust
            _end(process)


def read_summary(folder: Path) -> Figures:
    """Raises: RuntimeError when locust wrote none."""
    try:
        found: Figures = json.loads((folder / SUMMARY_NAME).read_text())
    except (OSError, ValueError) as exc:
        raise RuntimeError("locust ended without a summary; its output says why") from exc
    return found


def _command(order: Order) -> list[str]:
    rate = max(1.0, order.jobs / min(_ARRIVAL_S, order.seconds / 4))
    return [
        str(LOCUST), "--locustfile", str(_LOCUSTFILE), "--headless", "--only-summary",
        "--users", str(order.jobs), "--spawn-rate", f"{rate:.2f}",
        "--run-time", f"{max(1, round(order.seconds))}s", "--stop-timeout", str(_END_S),
        "--html", str(order.folder / "report.html"), "--loglevel", "WARNING",
    ]  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
