"""The program on disk takes the place of the running one: same process, children and sockets.

Rules:
1. First a trial: the command that started this process, with `TRIAL_FLAG`, in a child of its own.
   It loads every module, the configuration and the certificate. What fails there changes nothing.
2. Then `exec`: the pid stays, so children stay children (they can be reaped, and none of them gets
   the signal of a dead parent), and whoever watches the pid notices nothing.
3. Signals are held back before the exec until the successor takes them (`signals`).
4. An exec that fails leaves everything as it was.

Does not: decide when; the supervisor does, when nobody is being replaced.
Units: seconds of the monotonic clock.
Runs in: supervisor.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mirror.supervisor.handover import HANDOVER_VERSION, VARIABLE, Handover, Records, leave
from mirror.supervisor.signals import SIGNALS

TRIAL_FLAG = "--try-handover"
TRIAL_LIMIT_S = 60.0  # every module from a cold disk on a busy machine; a healthy one takes 1 s
_SHOWN_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`refusal` empty: `version` can take over."""

    version: str = ""
    refusal: str = ""


class TrialRun:
    """One trial run of the program on disk. `verdict` is None until it has ended."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        records: Records,
        now: float,
    ) -> None:
        """Start it. Raises: OSError when it cannot be started."""
        self.verdict: Verdict | None = None
        self._kill_at = now + TRIAL_LIMIT_S
        self._is_late = False
        self._output_fd = os.memfd_create("trial", os.MFD_CLOEXEC)
        arguments = [*command, TRIAL_FLAG, json.dumps(dict(records))]
        actions = [(os.POSIX_SPAWN_DUP2, self._output_fd, target) for target in (1, 2)]
        try:
            self.pid = os.posix_spawn(
                arguments[0], arguments, environment, file_actions=actions, setsigdef=SIGNALS
            )
        except OSError:
            os.close(self._output_fd)
            raise

    def look(self, now: float) -> None:
        """End a trial that takes too long."""
        if now >= self._kill_at and self.verdict is None and not self._is_late:
            self._is_late = True
            os.kill(self.pid, signal.SIGKILL)

    def end(self, code: int) -> None:
        """Take note of its exit code; negative: the signal's number."""
        with open(self._output_fd, "rb") as file:
            file.seek(0)
            lines = file.read().decode(errors="replace").strip().splitlines()
        self.verdict = self._judged(code, lines)

    def _judged(self, code: int, lines: list[str]) -> Verdict:
        if self._is_late:
            return Verdict(refusal=f"its trial run took longer than {TRIAL_LIMIT_S:.0f} s")
        if code != 0:
            said = " ".join(lines[-2:])[-_SHOWN_CHARACTERS:] or "nothing"
            return Verdict(refusal=f"its trial run ended with {code} and said: {said}")
        try:
            said_last = json.loads(lines[-1])
            version, handover = str(said_last["version"]), said_last["handover"]
        except (IndexError, KeyError, TypeError, ValueError):
            return Verdict(refusal="its trial run did not say who it is")
        if handover != HANDOVER_VERSION:
            return Verdict(refusal=f"it takes over by version {handover}, not {HANDOVER_VERSION}")
        return Verdict(version=version)

    def abandon(self) -> None:
        """Kill it; whoever reaps children reaps it."""
        if self.verdict is None:
            os.kill(self.pid, signal.SIGKILL)
            os.close(self._output_fd)


def become(command: Sequence[str], environment: Mapping[str, str], handover: Handover) -> None:
    """Run `command` in place of this program; returns only by an error.

    Signals must be held back. Raises: OSError when it cannot be run; then everything is as before.
    """
    fd, value = leave(handover)
    try:
        for kept in handover.descriptors:
            os.set_inheritable(kept, True)
        os.execve(command[0], [*command], {**environment, VARIABLE: value})  # noqa: S606 - no shell
    finally:
        for kept in handover.descriptors:
            os.set_inheritable(kept, False)
        os.close(fd)
