"""The supervisor's signals as a list that is taken when it suits.

Rules:
1. A handler does nothing: the number arrives by the wake-up pipe, in the order of the signals.
2. What is held back while the program replaces itself (`upgrade`) is let through once there is
   somebody to take it: by default SIGHUP and SIGUSR2 would end the process.

Does not: know what a signal means.
Runs in: supervisor.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGCHLD,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR2,
)


class SignalPipe:
    """Open as long as the supervisor runs; used from the main thread."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poller = select.poll()
        self._poller.register(self._read_fd, select.POLLIN)

    def open(self) -> None:
        """Take signals from here on, also those that were held back."""
        for number in SIGNALS:
            signal.signal(number, _ignore)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def wait(self, limit_s: float) -> None:
        """Return when a signal has come, or after `limit_s`."""
        self._poller.poll(limit_s * 1000)

    def taken(self) -> list[signal.Signals]:
        """Return what has come since, and forget it."""
        numbers = b""
        with contextlib.suppress(BlockingIOError):
            numbers = os.read(self._read_fd, 512)
        return [signal.Signals(number) for number in numbers]

    @contextlib.contextmanager
    def held_back(self) -> Iterator[list[signal.Signals]]:
        """Let signals wait in the kernel, also across an exec; yield those that came before.

        Without deaths of children: whoever comes looks for the dead anyway.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            yield [number for number in self.taken() if number != signal.SIGCHLD]
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def close(self) -> None:
        """Signals are lost from here on; the process is about to end."""
        signal.set_wakeup_fd(-1)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Python's own handler: without one the wake-up pipe gets nothing."""
