"""An upgrade from both ends: leaving what there is to the program on disk, and taking it over.

Rules:
1. A trial run comes first; what fails there is told (`upgrade-refused`) and changes nothing.
2. The handover is written when nobody is being replaced, so that every post has one child.
3. The successor is done (`upgraded`) when every post is filled by a child of its own. A child that
   it cannot start leaves the former one in its place.
4. Children that cannot live beside those of this program (`Handover.is_seamless`) are cleared
   first: workers drain, the keeper ends, and only then somebody starts.

Does not: fill posts; `supervisor.Supervisor` does.
Units: seconds of the monotonic clock.
Runs in: supervisor.
"""

from __future__ import annotations

import os

import msgspec

import mirror
from mirror.config import Config
from mirror.supervisor.crew import Crew, Seams
from mirror.supervisor.handover import HandedSocket, Handover
from mirror.supervisor.listeners import Listening
from mirror.supervisor.posts import Child
from mirror.supervisor.upgrade import TrialRun, become


class Succession:
    """`begin` when asked to; then `is_passed` once a turn."""

    def __init__(self, crew: Crew, seams: Seams) -> None:
        self._crew = crew
        self._seams = seams
        self._events = seams.events
        self._trial: TrialRun | None = None
        self._taken_over = seams.upgrading.taken_over
        self._clears = False
        self._began_at = seams.clock.monotonic()
        crew.on_stranger = self._note_exit

    # Leaving.

    @property
    def is_trying(self) -> bool:
        return self._trial is not None

    def begin(self) -> None:
        """Start the trial of the program on disk; one at a time."""
        upgrading = self._seams.upgrading
        if self._trial is not None:
            self._events.info("upgrade-under-way")
            return
        if not upgrading.command:
            self._refuse("this process does not know the command that started it")
            return
        now = self._seams.clock.monotonic()
        try:
            self._trial = TrialRun(upgrading.command, upgrading.environment, upgrading.records, now)
        except OSError as exc:
            self._refuse(f"{upgrading.command[0]}: {exc.strerror}")
            return
        self._events.info("upgrade-tried", command=list(upgrading.command))

    def is_passed(self, now: float) -> bool:
        """Say whether the trial has ended well; one that did not is told and forgotten."""
        trial = self._trial
        if trial is None:
            return False
        trial.look(now)
        if trial.verdict is None:
            return False
        if trial.verdict.refusal:
            self._trial = None
            self._refuse(trial.verdict.refusal)
            return False
        return True

    def hand_over(self, fixed: dict[str, str | list[str]], *, was_ready: bool) -> None:
        """Become the program that passed; returns only when that failed."""
        trial, self._trial = self._trial, None
        if trial is None or trial.verdict is None:
            return
        upgrading, listeners = self._seams.upgrading, self._seams.listeners
        handover = Handover(
            pid=os.getpid(),
            product_version=mirror.__version__,
            records=dict(upgrading.records),
            was_ready=was_ready,
            fixed=fixed,
            lock_fd=upgrading.lock_fd,
            inherited=_handed(listeners.inherited),
            lanes={number: _handed(lane) for number, lane in listeners.lanes.items()},
            control=tuple(sock.fileno() for sock in self._seams.keeper_sockets),
            children=self._crew.handed(),
        )
        self._events.info("upgrading", version=trial.verdict.version)
        try:
            become(upgrading.command, upgrading.environment, handover)
        except OSError as exc:
            self._refuse(f"{upgrading.command[0]}: {exc.strerror}")

    def abandon(self) -> None:
        if self._trial is not None:
            self._trial.abandon()

    def _note_exit(self, pid: int, code: int) -> None:
        if self._trial is not None and self._trial.pid == pid:
            self._trial.end(code)

    def _refuse(self, reason: str) -> None:
        self._events.error("upgrade-refused", reason=reason)

    # Taking over.

    @property
    def was_ready(self) -> bool:
        return self._taken_over is not None and self._taken_over.was_ready

    @property
    def is_clearing(self) -> bool:
        """Whether nobody may start yet (rule 4)."""
        self._clears = self._clears and bool(self._crew)
        return self._clears

    def adopt(self, config: Config) -> list[Child]:
        """Return the former program's children; none of them runs under `config`."""
        handed = self._taken_over
        if handed is None:
            return []
        self._clears = not handed.is_seamless(self._seams.upgrading.records)
        other = msgspec.structs.replace(config)  # an equal one, and not the same
        children = [self._crew.adopt(child, other) for child in handed.children]
        self._events.info(
            "taking-over",
            version=mirror.__version__,
            former=handed.product_version,
            children=len(children),
            drains_first=self._clears,
        )
        return children

    def note_whole(self) -> None:
        """Every post is filled by a child of this program."""
        if self._taken_over is not None:
            former, self._taken_over = self._taken_over.product_version, None
            took_s = round(self._seams.clock.monotonic() - self._began_at, 3)
            self._events.info("upgraded", version=mirror.__version__, former=former, took_s=took_s)


def _handed(sockets: list[Listening]) -> tuple[HandedSocket, ...]:
    return tuple(HandedSocket(fd=item.sock.fileno(), is_tls=item.is_tls) for item in sockets)
