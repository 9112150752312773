"""The living children of the supervisor: starting, ending and counting them.

Rules:
1. Every child has a slot of its own until it is reaped, so a record is never shared.
2. A signal goes only to a child that was not reaped yet: its pid cannot be another process's.
3. A child inherits only the listening sockets that are its business.
4. A worker ends by SIGTERM, whoever sends it. The keeper ends by `KEEPER_END`: a SIGTERM that goes
   to the whole process group must not take it from workers that drain.

Does not: decide who is needed; `supervisor.Supervisor` does.
Runs in: supervisor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mirror.child import KEEPER_END
from mirror.clock import Clock
from mirror.config import Config
from mirror.events import EventLog
from mirror.store.page import KEEPER_SLOT, SharedPage
from mirror.supervisor.children import Ready, Report, Work, fork_child
from mirror.supervisor.handover import HandedChild, Handover, Records
from mirror.supervisor.listeners import Listeners, Listening
from mirror.supervisor.posts import KEEPER_LANE, Child, Phase, Post
from mirror.supervisor.tls_context import Credentials
from mirror.supervisor.tls_watch import CertificateWatch

KEEPER_DRAIN_S = 10.0  # it commits what it has; nothing it does takes longer
DRAIN_GRACE_S = 2.0  # beyond the worker's own deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """Where a worker accepts, and the credentials that TLS among it needs."""

    listening: tuple[Listening, ...]
    tls: Credentials | None = None


class Programs(Protocol):
    """What the children run; each returns its exit code."""

    def run_worker(self, config: Config, slot: int, station: Station, ready: Ready) -> int: ...

    def run_keeper(self, config: Config, ready: Ready, *, is_first: bool) -> int: ...

    def reporter(self, config: Config, slot: int) -> Report: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrading:
    """What another program needs to take over, and what this one has taken over.

    `command` starts this program again, its executable first; empty: it cannot be replaced.
    """

    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    lock_fd: int = -1
    records: Records = field(default_factory=dict)
    taken_over: Handover | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """What `app.serve` hands in. `keeper_sockets` are closed in workers; `tls` is what the first
    workers accept with."""

    listeners: Listeners
    keeper_sockets: tuple[socket.socket, ...]
    page: SharedPage
    programs: Programs
    reread: Callable[[], Config]
    clock: Clock
    events: EventLog
    certificates: CertificateWatch
    tls: Credentials | None = None
    upgrading: Upgrading = field(default_factory=Upgrading)


class Crew:
    """All living children by pid."""

    def __init__(self, seams: Seams) -> None:
        self._seams = seams
        self._children: dict[int, Child] = {}
        self.on_stranger: Callable[[int, int], None] = _ignore

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._children.values()))

    def __len__(self) -> int:
        return len(self._children)

    def __repr__(self) -> str:
        return "<Crew " + ", ".join(f"{c.name} {c.phase.value}" for c in self) + ">"

    def start_worker(self, post: Post, config: Config, station: Station) -> Child:
        """Fork a worker that accepts at `station`."""
        slot = self._free_slot()
        run = self._seams.programs.run_worker
        kept = [item.sock for item in station.listening]
        child = self._start(
            post, slot, config, kept, lambda ready: run(config, slot, station, ready)
        )
        child.tls = station.tls
        child.sockets_total = len(station.listening)
        return child

    def start_keeper(self, post: Post, config: Config, *, is_first: bool) -> Child:
        """Fork the keeper."""
        run = self._seams.programs.run_keeper
        kept = list(self._seams.keeper_sockets)
        return self._start(
            post, KEEPER_SLOT, config, kept, lambda ready: run(config, ready, is_first=is_first)
        )

    def adopt(self, handed: HandedChild, config: Config) -> Child:
        """Take over a child of the program that was here before; `config` is not its own."""
        child = Child(
            pid=handed.pid,
            lane=handed.lane,
            slot=handed.slot,
            config=config,
            started_at=handed.started_at,
            ready_fd=handed.ready_fd,
            drain_s=handed.drain_s,
            end_signal=handed.end_signal,
            phase=Phase(handed.phase),
            # It served the former program; since when is not told.
            ready_at=None if handed.phase == Phase.STARTING.value else handed.started_at,
            kill_at=handed.kill_at,
        )
        self._children[child.pid] = child
        return child

    def handed(self) -> tuple[HandedChild, ...]:
        """Return what `adopt` needs, of every child."""
        return tuple(
            HandedChild(
                pid=child.pid,
                lane=child.lane,
                slot=child.slot,
                ready_fd=child.ready_fd,
                phase=child.phase.value,
                started_at=child.started_at,
                kill_at=child.kill_at,
                drain_s=child.drain_s,
                end_signal=int(child.end_signal),
            )
            for child in self
        )

    def reap(self) -> Iterator[tuple[Child, int]]:
        """Yield the children that ended, with their exit code; negative: the signal's number."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            code = os.waitstatus_to_exitcode(status)
            if child is None:
                self.on_stranger(pid, code)
                continue
            os.close(child.ready_fd)
            self._seams.page.set_pid(child.slot, 0)
            yield child, code

    def is_ready(self, child: Child) -> bool:
        """Say whether the child has said that it serves; asked until it does."""
        try:
            return bool(os.read(child.ready_fd, 1))
        except BlockingIOError:
            return False

    def beat_at(self, child: Child) -> float:
        """Return the monotonic time of the child's last heartbeat, 0 for none."""
        return self._seams.page.heartbeat(child.slot) / 1000

    def drain(self, child: Child) -> None:
        """Tell `child` to end, once; `kill_at` is its deadline."""
        if child.phase is Phase.DRAINING:
            return
        child.phase = Phase.DRAINING
        child.kill_at = self._seams.clock.monotonic() + child.drain_s
        _send(child, child.end_signal)

    def kill(self, child: Child) -> None:
        child.is_killed = True
        _send(child, signal.SIGKILL)

    def _start(
        self,
        post: Post,
        slot: int,
        config: Config,
        kept: list[socket.socket],
        work: Work,
    ) -> Child:
        all_sockets = [*self._seams.listeners.all_sockets(), *self._seams.keeper_sockets]
        close_fds = [sock.fileno() for sock in all_sockets if sock not in kept]
        self._seams.page.set_pid(slot, 0)
        started_at = self._seams.clock.monotonic()
        forked = fork_child(work, close_fds, self._seams.programs.reporter(config, slot))
        # Clears a beat that the child may have given already; its next one comes in 250 ms.
        self._seams.page.set_pid(slot, forked.pid)
        child = Child(
            pid=forked.pid,
            lane=post.lane,
            slot=slot,
            config=config,
            started_at=started_at,
            ready_fd=forked.ready_fd,
            drain_s=config.serve.drain_timeout + DRAIN_GRACE_S,
        )
        if post.lane == KEEPER_LANE:
            child.drain_s, child.end_signal = KEEPER_DRAIN_S, KEEPER_END
        self._children[forked.pid] = child
        return child

    def _free_slot(self) -> int:
        """Raises: OSError while too many former workers still drain."""
        taken = {child.slot for child in self}
        free = next((slot for slot in range(self._seams.page.slots) if slot not in taken), None)
        if free is None:
            raise OSError(errno.EAGAIN, "former workers that still drain hold every record")
        return free


def _ignore(_pid: int, _code: int) -> None:
    """Nobody waits for that process."""


def _send(child: Child, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, number)
