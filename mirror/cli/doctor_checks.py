"""Looks that must not hang: each in a thread of its own, with a deadline.

Rules:
1. A look that is late is told as such; its thread is left behind and does not keep the command.
   What it had found until then is told as well.
2. What it meets becomes a finding, never a trace: an error of ours or the system's says what could
   not be looked at; anything else is a mistake in this command, and says so.

Units: seconds.
Runs in: commands.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mirror.doctor.findings import Finding
from mirror.doctor.said import note, risk, span, wrong
from mirror.errors import ConfigError, MirrorError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One look; `name` is what people read while it takes time."""

    name: str
    look: Callable[[], Iterable[Finding]]
    limit_s: float = 5.0


class Task(Generic[T]):
    """A call under way in a thread that nobody waits for at the end."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._result: list[T] = []
        self._error: list[Exception] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self, limit_s: float) -> T:
        """Return what the call returned.

        Raises: TimeoutError when it is late; what the call raised.
        """
        self._thread.join(max(0.0, limit_s))
        if self._error:
            raise self._error[0]
        if not self._result:
            raise TimeoutError
        return self._result[0]

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except Exception as exc:  # noqa: BLE001 - the edge of a look; `result` raises it
            self._error.append(exc)


def run_checks(checks: Sequence[Check], show: Callable[[str], None]) -> list[Finding]:
    """Look at everything at once and return the findings in the order of the checks."""
    began_at = time.monotonic()
    under_way = [_Look(check) for check in checks]
    found: list[Finding] = []
    for look in under_way:
        show(look.check.name)
        found += look.findings(began_at)
    return found


class _Look:
    """A check under way; what it found before it failed, or was late, counts."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self._found: list[Finding] = []
        self._task = Task(self._collect)

    def findings(self, began_at: float) -> list[Finding]:
        try:
            self._task.result(began_at + self.check.limit_s - time.monotonic())
        except TimeoutError:
            return [*self._found, _late(self.check)]
        except Exception as exc:  # noqa: BLE001 - the edge of a look
            return [*self._found, _failed(self.check, exc)]
        return self._found

    def _collect(self) -> None:
        for finding in self.check.look():
            self._found.append(finding)  # one by one: the reader may not wait for the rest


def _late(check: Check) -> Finding:
    sentence = f"took longer than {span(check.limit_s)} to look at"
    remedy = "a disk or a network that hangs? See the kernel messages, and ask again"
    return risk(check.name, sentence, remedy)


def _failed(check: Check, exc: Exception) -> Finding:
    as_root = "run it as root or as the mirror's user"
    if isinstance(exc, ConfigError):
        return wrong(check.name, exc.message, exc.hint or "correct it, and ask again")
    if isinstance(exc, MirrorError):
        return note(check.name, f"could not be looked at: {exc.message}", exc.hint or as_root)
    if isinstance(exc, OSError):
        return note(check.name, f"could not be looked at: {exc.strerror or exc}", as_root)
    sentence = f"was not looked at: {type(exc).__name__}: {str(exc)[:200]}"
    return risk(check.name, sentence, "this is a mistake of rust-mirror doctor: report it")
