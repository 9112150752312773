"""Forks that open a store and kill themselves at a crash point: many kills in little time.

    python -m tests.faults.store_kills FOLDER KILLS SEED

Rules:
1. A program of its own: forking is safe only in a process without threads and open databases.
2. Each kill has a store of its own: one fork brings it to a known state and dies in a step, the
   next opens what is left, checks what workers see and what is counted, and ends the step.
3. A kill that does not happen is a failure. One line of JSON says how many happened, by point.

Does not: have workers; `kill_rounds` has whole mirrors.
Runs in: tests, benchmark.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mirror.store import points
from mirror.store.points import Point
from mirror.store.store import Store
from tests.faults.deeds import flip_byte
from tests.unit.store.bench import Bench, sha256
from tests.unit.store.steps import (
    BEFORE,
    CRATE,
    STEPS,
    Step,
    check_accounts,
    check_blobs,
    check_state,
    prepare,
)

_DAMAGED = "attest-damaged"
_BUDGET_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Death:
    """Die in `step` when `point` is passed for the `countdown`-th time."""

    step: str
    point: Point
    countdown: int


def _attest_crate(store: Store) -> None:
    stored = store.lookup("crate")
    if stored is not None:
        store.attest(stored)


_STEPS: Mapping[str, Step] = {
    **STEPS,
    _DAMAGED: Step(
        run=_attest_crate, expected={key: BEFORE[key] for key in BEFORE if key != "crate"}
    ),
}


def run_store_kills(folder: Path, kills: int, *, programs: int, seed: int) -> Counter[str]:
    """Have `kills` kills done by so many programs at once; return how many fired at each point.

    Raises: AssertionError with what a program printed when something was not right.
    """
    shares = [kills // programs + (number < kills % programs) for number in range(programs)]
    begun = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.store_kills", str(folder / f"forks-{number}"),
             str(share), str(seed + number)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number, share in enumerate(shares)
    ]  # fmt: skip
    fired: Counter[str] = Counter()
    for program in begun:
        printed, _ = program.communicate()
        assert program.returncode == 0, printed[-4000:]
        fired.update(json.loads(printed.splitlines()[-1]))
    return fired


def main(root: str, kills: int, seed: int) -> int:
    turns = _turns(_deaths(root), random.Random(seed))
    fired: Counter[str] = Counter()
    for number, death in enumerate(itertools.islice(turns, kills)):
        where = f"{root}/{number}"
        if not _is_survived(where, death):
            print(f"{death} in {where}")
            return 1
        fired[death.point.value] += 1
        shutil.rmtree(where)
    print(json.dumps(fired))
    return 0


def _turns(deaths: Sequence[Death], dice: random.Random) -> Iterator[Death]:
    """Yield the points in turn, and at each of them its deaths in turn."""
    of_points: list[Iterator[Death]] = []
    for point in Point:
        of_point = [death for death in deaths if death.point is point]
        dice.shuffle(of_point)
        of_points.append(itertools.cycle(of_point))
    for turn in itertools.cycle(of_points):
        yield next(turn)


def _deaths(root: str) -> list[Death]:
    """Return every way to die: each passing of each point in each step."""
    found = []
    for name in _STEPS:
        log = f"{root}/{name}.passed"
        bench = Bench(f"{root}/{name}", budget_bytes=_BUDGET_BYTES)
        if _in_child(lambda bench=bench, name=name, log=log: _note_passings(bench, name, log)):  # type: ignore[misc] # bound early
            raise SystemExit(f"{name} cannot be run")
        bench.page.close()
        passed = Counter(Path(log).read_text().split())
        for value, count in passed.items():
            found += [Death(name, Point(value), number) for number in range(1, count + 1)]
    reached = {death.point for death in found}
    if missing := set(Point) - reached:
        raise SystemExit(f"no step passes {sorted(point.value for point in missing)}")
    return found


def _is_survived(where: str, death: Death) -> bool:
    bench = Bench(where, budget_bytes=_BUDGET_BYTES)
    with contextlib.closing(bench.page):
        if _in_child(lambda: _die(bench, death)) != -signal.SIGKILL:
            return False
        return _in_child(lambda: _survive(bench, _STEPS[death.step])) == 0


def _note_passings(bench: Bench, name: str, log: str) -> None:
    store = _begin(bench, name)
    with open(log, "w", encoding="ascii") as file:
        points.on_passed = lambda point: print(point.value, file=file)
        _STEPS[name].run(store)


def _die(bench: Bench, death: Death) -> None:
    store = _begin(bench, death.step)
    left = [death.countdown]

    def on_passed(point: Point) -> None:
        left[0] -= point is death.point
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    points.on_passed = on_passed
    _STEPS[death.step].run(store)


def _begin(bench: Bench, name: str) -> Store:
    """Bring a store to the known state, and open it as a process does that was started later."""
    first = bench.open()
    prepare(first)
    first.close()
    if name == _DAMAGED:
        flip_byte(Path(bench.layout.blob(sha256(CRATE))), 1000)
    return bench.open()


def _survive(bench: Bench, step: Step) -> None:
    check_state(bench, step)
    store = bench.open()
    check_state(bench, step)
    check_accounts(bench, store)
    step.run(store)
    assert dict(check_state(bench, step)) == dict(step.expected)
    check_accounts(bench, store)
    check_blobs(bench)
    store.close()


def _in_child(run: Callable[[], None]) -> int:
    """Run in a fork; return its exit code, or minus the signal that ended it."""
    sys.stdout.flush()
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


def _arguments(words: Sequence[str]) -> tuple[str, int, int]:
    root, kills, seed = words
    os.makedirs(root)
    return root, int(kills), int(seed)


if __name__ == "__main__":
    sys.exit(main(*_arguments(sys.argv[1:])))
