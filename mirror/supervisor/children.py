"""Forking a child of the supervisor, and what a forked child does before its own work.

Rules:
1. A child never returns into the supervisor's stack: it ends by `os._exit`.
2. A child dies with the supervisor: the kernel sends it SIGTERM (PR_SET_PDEATHSIG), and it checks
   its parent once after asking for that, because the parent may have died in between.
3. A child says once that it serves, by a byte in a pipe; a heartbeat says only that it lives (the
   keeper lives long before it serves when it has to read a big store again).
4. Ctrl-C reaches the whole terminal group; a child ignores it and waits for the supervisor's
   SIGTERM.

Runs in: supervisor (fork) and its children (set-up).
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from mirror.errors import MirrorError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_RESET = (signal.SIGTERM, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU)
# What people send to all processes of a name is meant for the supervisor.
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR2)


Ready = Callable[[], None]
Work = Callable[[Ready], int]  # gets what to call when it serves; returns the exit code


class Report(Protocol):
    """Tells an event of the child."""

    def __call__(self, event: str, /, **fields: object) -> None: ...


class Exit(enum.IntEnum):
    """How a child ends."""

    CLEAN = 0
    FAILED = 1
    REFUSED = 78  # EX_CONFIG of sysexits.h: starting again would not help


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """`ready_fd` gives one byte when the child serves; the receiver closes it."""

    pid: int
    ready_fd: int


def fork_child(work: Work, close_fds: Iterable[int], report: Report) -> Forked:
    """Run `work` in a child; `close_fds` are not the child's business.

    `report` gets the exception that ended the child. Must be called without other threads.
    Raises: OSError when the machine has no room for another process or pipe.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it was closed when the program began
            stream.flush()
    parent = os.getpid()
    ready_fd, tell_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        pid = os.fork()
    except OSError:
        os.close(ready_fd)
        os.close(tell_fd)
        raise
    if pid:
        os.close(tell_fd)
        return Forked(pid=pid, ready_fd=ready_fd)
    code = int(Exit.FAILED)
    try:
        _become_child(parent, [*close_fds, ready_fd])
        code = work(lambda: _tell_ready(tell_fd))
    except MirrorError as exc:
        report("process-refused", reason=exc.message, hint=exc.hint)
        code = int(Exit.FAILED if exc.retryable else Exit.REFUSED)
    except BaseException as exc:  # noqa: BLE001 - the edge of a process: nothing may pass
        report("process-failed", reason=repr(exc), trace=traceback.format_exc()[-3000:])
    finally:
        os._exit(code)


def _tell_ready(tell_fd: int) -> None:
    with contextlib.suppress(OSError):  # a dead supervisor: the kernel's signal is on its way
        os.write(tell_fd, b"1")


def _become_child(parent: int, close_fds: Iterable[int]) -> None:
    signal.set_wakeup_fd(-1)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for fd in close_fds:
        os.close(fd)
    die_with_parent()
    if os.getppid() != parent:
        os._exit(Exit.CLEAN)


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent of the calling process ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def is_runnable(pid: int) -> bool:
    """Whether the process runs or waits for a core (state R of proc(5)); False: it waits for
    something else, is stopped, or is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The name before it stands in parentheses and may hold any byte.
            return stat.read().rpartition(b")")[2].split()[0] == b"R"
    except OSError:
        return False
