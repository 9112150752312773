"""What the supervisor knows about its children: the places to fill and who fills them.

Rules:
1. A *post* is a place that must be filled: a worker's lane of sockets, or the keeper's.
2. A *slot* is a record of the shared page and a counters file. Each living process has its own,
   also while a worker drains beside its successor, so two processes never write one record.
3. The first restart after a stable life is immediate; a process that keeps dying waits longer each
   time, so that a broken machine is not also a busy one, and is told as one alarm.

Units: seconds of the monotonic clock.
Runs in: supervisor. Pure.
"""

from __future__ import annotations

import enum
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.config import Config
from mirror.store.page import KEEPER_SLOT

if TYPE_CHECKING:
    from mirror.supervisor.tls_context import Credentials

KEEPER_LANE = -1
STABLE_S = 10.0  # having served so long forgives earlier deaths
RESTART_DELAYS_S = (0.0, 0.1, 0.25, 0.5, 1.0)  # the longest, too, is whole again within 2 s
ALARM_DEATHS = 5  # in a row; from here on nobody would read each of them
RELIEF_AFTER_S = 1.25  # a worker silent this long gets a successor, though it may recover
HEARTBEAT_LIMIT_S = 5.0  # beats come four times a second; a loop silent this long serves nobody
START_LIMIT_S = 30.0  # a fork and imports; a first beat later than this never comes


class Phase(enum.Enum):
    STARTING = "starting"  # forked; has not said yet that it serves
    READY = "ready"
    DRAINING = "draining"  # told to end; the post is not its own any more


@dataclass(slots=True)
class Child:
    """One running process; `kill_at` is when patience with it ends."""

    pid: int
    lane: int
    slot: int
    config: Config  # that it was started with
    started_at: float
    ready_fd: int
    drain_s: float = 0.0  # from being told to end until patience ends
    end_signal: int = signal.SIGTERM
    tls: Credentials | None = None  # that it accepts with; the keeper has none
    sockets_total: int = 0  # that it accepts on
    phase: Phase = Phase.STARTING
    ready_at: float | None = None
    kill_at: float | None = None
    is_killed: bool = False

    def has_served_long(self, now: float) -> bool:
        """Whether it is well. Starting does not count: one may take its time and end right then."""
        return self.ready_at is not None and now - self.ready_at >= STABLE_S

    @property
    def name(self) -> str:
        return process_name(self.slot)

    def is_hung(self, beat_at: float, now: float) -> bool:
        """`beat_at` 0: it has not beaten yet. A draining keeper has its deadline instead: it may
        commit for longer than it can beat."""
        if self.phase is Phase.DRAINING and self.lane == KEEPER_LANE:
            return False
        if beat_at <= 0:
            return now - self.started_at > START_LIMIT_S
        return now - beat_at > HEARTBEAT_LIMIT_S

    def needs_relief(self, beat_at: float, now: float) -> bool:
        """Whether somebody should accept in its place while it is silent."""
        return self.phase is Phase.READY and 0 < beat_at < now - RELIEF_AFTER_S


@dataclass(slots=True)
class Post:
    """`restart_at` None: nothing is due. `successor` takes over when it is ready."""

    lane: int
    child: Child | None = None
    successor: Child | None = None
    restart_at: float | None = 0.0
    deaths: int = 0
    is_unstartable: bool = False  # told once per streak

    @property
    def name(self) -> str:
        if self.child is not None:
            return self.child.name
        return "keeper" if self.lane == KEEPER_LANE else f"worker of lane {self.lane}"

    @property
    def is_filled(self) -> bool:
        return self.child is not None and self.child.phase is Phase.READY

    @property
    def is_draining(self) -> bool:
        """Whether who fills it was told to end and has no successor: a keeper."""
        return self.child is not None and self.child.phase is Phase.DRAINING

    def note_death(self, child: Child, now: float) -> float:
        """Forget the dead child and return the delay until its restart."""
        self.deaths = 1 if child.has_served_long(now) else self.deaths + 1
        delay_s = RESTART_DELAYS_S[min(self.deaths, len(RESTART_DELAYS_S)) - 1]
        self.child = None
        self.restart_at = now + delay_s
        return delay_s

    def has_settled(self, now: float) -> bool:
        """Whether a post whose deaths were an alarm is filled for good; says so once."""
        child = self.child
        if self.deaths < ALARM_DEATHS or child is None or child.phase is not Phase.READY:
            return False
        if not child.has_served_long(now):
            return False
        self.deaths = 0
        return True


def ended(code: int) -> str:
    """Say how a process ended; negative: the signal's number."""
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def process_name(slot: int) -> str:
    """Return the name that events, files and `status` use."""
    return "keeper" if slot == KEEPER_SLOT else f"worker-{slot}"
