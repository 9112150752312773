"""The crash board: where a test says at which point a running mirror shall be killed, and whom.

Rules:
1. The board is one file that every process of a mirror maps; it outlives all of them.
2. It is armed for one kill: the `countdown`-th passing of the point from there on. A kill disarms
   it, and is counted before it happens: a dead process counts nothing.
3. Only processes of this mirror are killed: the process that passes the point (the keeper), its
   siblings (the workers), their parent (the supervisor).
4. Every passing of a point is counted too, so that a test sees which points its deeds reach.

Does not: know what a point means. Runs in: supervisor, worker, keeper of a mirror under test; the
test that arms it.
"""

from __future__ import annotations

import enum
import mmap
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from mirror.store.points import Point

POINTS = tuple(Point)
_CELL = 8
_ARMED, _COUNTDOWN, _VICTIM, _COUNTS = range(4)


class Victim(enum.Enum):
    """Who is killed when the keeper passes the point."""

    KEEPER = "keeper"
    WORKER = "worker"
    ALL = "all"


VICTIMS = tuple(Victim)
_PER_POINT = 1 + len(VICTIMS)  # passings; kills of each victim
_CELLS = _COUNTS + _PER_POINT * len(POINTS)


class CrashBoard:
    """One mapping of the file; make one before forking and the children share it."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(_CELLS * _CELL)
            self._map = mmap.mmap(file.fileno(), _CELLS * _CELL)
        self._cells = memoryview(self._map).cast("Q")
        self._lock = threading.Lock()  # points are passed in several threads of the keeper

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<CrashBoard armed {self.armed}, {self.kills_total} kills>"

    def close(self) -> None:
        self._cells.release()
        self._map.close()

    # In the test

    def arm(self, point: Point, victim: Victim, *, countdown: int = 1) -> None:
        """Kill `victim` when `point` has been passed `countdown` times from here on."""
        if countdown < 1:
            raise ValueError("countdown begins at 1")
        self._cells[_ARMED] = 0
        self._cells[_COUNTDOWN] = countdown
        self._cells[_VICTIM] = VICTIMS.index(victim)
        self._cells[_ARMED] = 1 + POINTS.index(point)  # last: from here on it counts down

    def disarm(self) -> None:
        self._cells[_ARMED] = 0

    @property
    def armed(self) -> Point | None:
        number = self._cells[_ARMED]
        return POINTS[number - 1] if number else None

    @property
    def kills_total(self) -> int:
        return sum(self.kills().values())

    def kills(self) -> Mapping[tuple[Point, Victim], int]:
        """Return how often each victim was killed at each point."""
        return {
            (point, victim): self._cells[_cell(point) + 1 + number]
            for point in POINTS
            for number, victim in enumerate(VICTIMS)
        }

    def passings(self) -> Mapping[Point, int]:
        return {point: self._cells[_cell(point)] for point in POINTS}

    # In the mirror

    def on_passed(self, point: Point) -> None:
        """Count the passing, and kill when it is the armed one."""
        with self._lock:
            self._cells[_cell(point)] += 1
            if self._cells[_ARMED] != 1 + POINTS.index(point):
                return
            if self._cells[_COUNTDOWN] > 1:
                self._cells[_COUNTDOWN] -= 1
                return
            victim, workers = VICTIMS[self._cells[_VICTIM]], _siblings()
            if victim is Victim.WORKER and not workers:
                return  # nobody to kill: the next passing will do
            self._cells[_ARMED] = 0
            self._cells[_cell(point) + 1 + VICTIMS.index(victim)] += 1
        _kill(victim, workers, self._cells[_cell(point)])


def _cell(point: Point) -> int:
    return _COUNTS + _PER_POINT * POINTS.index(point)


def _kill(victim: Victim, workers: Sequence[int], chance: int) -> None:
    """Kill from within the keeper; `chance` chooses among the workers."""
    if victim is Victim.KEEPER:
        os.kill(os.getpid(), signal.SIGKILL)
    elif victim is Victim.WORKER:
        _send(workers[chance % len(workers)], signal.SIGKILL)
    else:
        supervisor = os.getppid()
        # Stopped first, it restarts nobody; killed last, its death does not tell the others to end.
        _send(supervisor, signal.SIGSTOP)
        for pid in workers:
            _send(pid, signal.SIGKILL)
        _send(supervisor, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def _siblings() -> list[int]:
    """Return the living workers of this keeper's supervisor."""
    supervisor, own = os.getppid(), os.getpid()
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return sorted(pid for pid in map(int, children) if pid != own and _is_alive(pid))


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
