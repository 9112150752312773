"""What every process of this mirror takes and how it does, for the metrics.

Rules:
1. The shared page says which processes there are; the kernel what they take. One that is gone
   between the two is told without what the kernel would say.
2. Beyond `SHOWN_WORKERS` workers all of them are told as one, "workers": sums, the oldest
   heartbeat, and up only while all are. So the number of series has a bound.

Runs in: keeper.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mirror.clock import Clock
from mirror.control.metric import ProcessFigures
from mirror.control.status import process_states
from mirror.control.usage import usage_of
from mirror.store.page import SharedPage

SHOWN_WORKERS: Final = 16
SUPERVISOR: Final = "supervisor"
_WORKER: Final = "worker-"


def read_processes(page: SharedPage, clock: Clock, supervisor_pid: int) -> list[ProcessFigures]:
    """Return the supervisor's figures, then the keeper's and the workers'."""
    states = process_states(page, clock)
    others = [
        _figures(
            state["name"],
            state["pid"],
            is_up=state["is_alive"],
            restarts_total=state["restarts_total"],
            heartbeat_age_s=state["heartbeat_age_s"],
        )
        for state in states
    ]
    # A keeper whose supervisor has died has another parent.
    is_ours = os.getppid() == supervisor_pid
    supervisor = _figures(SUPERVISOR, supervisor_pid if is_ours else 0, is_up=is_ours)
    return [supervisor, *folded(others)]


def folded(processes: Sequence[ProcessFigures]) -> list[ProcessFigures]:
    """Return them, with too many workers as one."""
    workers = [each for each in processes if each.name.startswith(_WORKER)]
    if len(workers) <= SHOWN_WORKERS:
        return list(processes)
    together = ProcessFigures(
        name="workers",
        is_up=all(each.is_up for each in workers),
        restarts_total=sum(each.restarts_total for each in workers),
        heartbeat_age_s=_of(max, (each.heartbeat_age_s for each in workers)),
        cpu_s=_of(sum, (each.cpu_s for each in workers)),
        resident_bytes=_whole(_of(sum, (each.resident_bytes for each in workers))),
        open_fds=_whole(_of(sum, (each.open_fds for each in workers))),
    )
    return [each for each in processes if each not in workers] + [together]


def _figures(
    name: str,
    pid: int,
    *,
    is_up: bool,
    restarts_total: int = 0,
    heartbeat_age_s: float | None = None,
) -> ProcessFigures:
    usage = usage_of(pid)
    return ProcessFigures(
        name=name,
        is_up=is_up,
        restarts_total=restarts_total,
        heartbeat_age_s=heartbeat_age_s,
        cpu_s=None if usage is None else usage.cpu_s,
        resident_bytes=None if usage is None else usage.resident_bytes,
        open_fds=_open_fds(pid),
    )


def _open_fds(pid: int) -> int | None:
    if pid <= 0:
        return None
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def _of(fold: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fold(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
