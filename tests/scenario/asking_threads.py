"""Threads that ask a mirror until the block is left.

Runs in: tests, benchmark.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from tests.scenario.edge import DEADLINE_S


class AskingThreads:
    """One thread per job; each is given its number, and ends soon after `_stop` is set."""

    def __init__(self, jobs: Iterable[Callable[[int], None]]) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=job, args=(number,)) for number, job in enumerate(jobs)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * DEADLINE_S)
