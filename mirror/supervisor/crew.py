"""The living children of the supervisor: starting, ending and counting them.

Rules:
1. Every child has a slot of its own until it is reaped, so a record is never shared.
2. A signal goes only to a child that was not reaped yet: its pid cannot be another process's.
3. A child inherits only the listening sockets that are its business.

Does not: decide who is needed; `supervisor.Supervisor` does.
Runs in: supervisor.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mirror.clock import Clock
from mirror.config import Config
from mirror.events import EventLog
from mirror.store.page import KEEPER_SLOT, SharedPage
from mirror.supervisor.children import Ready, Report, Work, fork_child
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


class Crew:
    """All living children by pid."""

    def __init__(self, seams: Seams) -> None:
        self._seams = seams
        self._children: dict[int, Child] = {}

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
            if child is not None:
                os.close(child.ready_fd)
                self._seams.page.set_pid(child.slot, 0)
                yield child, os.waitstatus_to_exitcode(status)

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
        limit_s = child.config.serve.drain_timeout + DRAIN_GRACE_S
        if child.lane == KEEPER_LANE:
            limit_s = KEEPER_DRAIN_S
        child.kill_at = self._seams.clock.monotonic() + limit_s
        _send(child, signal.SIGTERM)

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
        )
        self._children[forked.pid] = child
        return child

    def _free_slot(self) -> int:
        taken = {child.slot for child in self}
        return next(slot for slot in range(self._seams.page.slots) if slot not in taken)


def _send(child: Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, number)
