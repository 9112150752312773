"""How long a late child could not beat because it waited for a core.

A machine that runs far more than it has cores for (CI runners do) keeps a healthy child from its
beats for seconds. To kill it then costs its clients their answers, and its successor is late too.

Rules:
1. The kernel counts, per thread, the time that it was runnable and did not run (run delay). What a
   child's threads waited together since it was first seen late is forgiven, up to `MOST_S`: who is
   silent for longer is hung, however busy the machine.
2. A child that beats costs nothing here.

Units: seconds of the monotonic clock.
Runs in: supervisor.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

LATE_S = 0.75  # beats come four times a second
MOST_S = 25.0
_NS = 1e9


@dataclass(frozen=True, slots=True)
class _Late:
    beat_at: float
    waited_s: float


class Starvation:
    """What is known of children that are late."""

    def __init__(self) -> None:
        self._late: dict[int, _Late] = {}

    def __repr__(self) -> str:
        return f"<Starvation {len(self._late)} late>"

    def forgiven_s(self, pid: int, beat_at: float, now: float) -> float:
        """Return how much of the silence since `beat_at` is not the child's fault.

        `beat_at` 0: it has not beaten yet.
        """
        if now - beat_at < LATE_S:
            self._late.pop(pid, None)
            return 0.0
        waited_s = run_delay_s(pid)
        late = self._late.get(pid)
        if late is None or late.beat_at != beat_at:
            self._late[pid] = _Late(beat_at, waited_s)
            return 0.0
        return min(MOST_S, max(0.0, waited_s - late.waited_s))

    def keep(self, pids: set[int]) -> None:
        """Forget all but `pids`."""
        for pid in self._late.keys() - pids:
            del self._late[pid]


def run_delay_s(pid: int) -> float:
    """Return how long all threads of the process have waited for a core; 0.0 when it is gone."""
    total_ns = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            # Time on a core, time of waiting for one, time slices (sched-stats.rst of the kernel).
            total_ns += int((task / "schedstat").read_bytes().split()[1])
    return total_ns / _NS
