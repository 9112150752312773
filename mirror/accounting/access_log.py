"""The access log: lines go to a file from a thread of its own, whole batches by one write.

Rules:
1. Writing never waits: it makes the lines, and what does not fit into the buffer is dropped and
   counted. Totals `log_lines_written` and `log_lines_dropped` add up to the lines that were due.
2. What cannot be written stays in the buffer and is tried again every `RETRY_S`.
3. Trouble is told once, and once that it is over.

Units: bytes, seconds.
Does not: make the lines (`log_lines`), or open the file (`log_file`).
Runs in: worker and keeper; built after the fork, because of the thread.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from typing import Final

from mirror.accounting.counters import Counters
from mirror.accounting.log_file import LogFile
from mirror.accounting.log_lines import LogLines
from mirror.accounting.records import FetchRecord, Hit, RequestRecord
from mirror.clock import Clock
from mirror.config import Config
from mirror.events import EventLog

RETRY_S: Final = 1.0
CLOSE_S: Final = 5.0  # a stuck disk or pipe does not keep a process from ending
TOLD_AGAIN_S: Final = 60.0  # between two tellings that lines are dropped
_KEPT = ("refused", "failed")
_HINT = "make room, or let this user write there; lines that do not fit [log] buffer are dropped"


class AccessLog:
    """The access log of one process. `start` it, `write`, and `aclose` it before the counters."""

    def __init__(
        self,
        config: Config,
        counters: Counters,
        clock: Clock,
        events: EventLog,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` returns what is below 1 and not negative."""
        self._file = LogFile(config.log.access)
        self._one_in = config.log.sample_one_in
        self._buffer_bytes = int(config.log.buffer)
        self._clock = clock
        self._events = events
        self._chance = chance
        self._lines = LogLines(hit_weight=self._one_in)
        self._counters = counters
        self._written_cell = counters.layout.row("total", "log_lines_written")
        self._dropped_cell = counters.layout.row("total", "log_lines_dropped")
        # Under the lock of `_changed`: what waits, and the counters, which both threads add to.
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []  # each of them lines
        self._waiting_bytes = 0  # with what is being written
        self._writing: list[bytes] = []
        self._ends = threading.Event()
        self._is_closed = False
        self._told_at = -TOLD_AGAIN_S
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)

    def __repr__(self) -> str:
        return f"<AccessLog {self._file.path} {self._waiting_bytes} bytes waiting>"

    def start(self) -> None:
        self._thread.start()

    def write(self, records: Sequence[RequestRecord]) -> None:
        """Log responses, or a sample of those that nothing was wrong with."""
        lines = []
        for record in records:
            if self._one_in == 1 or record.outcome in _KEPT or not record.is_complete:
                lines.append(self._lines.request(record))
            elif self._is_chosen():
                lines.append(self._lines.request(record, weight=self._one_in))
        self._offer(lines)

    def write_hits(self, hits: Sequence[Hit]) -> None:
        """As `write`, of complete hits."""
        if self._one_in != 1:
            hits = [each for each in hits if self._is_chosen()]
        self._offer(self._lines.hits(hits))

    def _is_chosen(self) -> bool:
        return self._chance() * self._one_in < 1.0

    def write_fetches(self, records: Sequence[FetchRecord]) -> None:
        """Log requests to upstreams; all of them."""
        self._offer([self._lines.fetch(record) for record in records])

    async def aclose(self) -> None:
        """Write what waits, for at most `CLOSE_S`; idempotent. The rest is dropped and counted."""
        with self._changed:
            self._ends.set()
            self._changed.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, CLOSE_S)
        with self._changed:
            # What the thread is stuck with may yet be read by somebody, but is not counted twice.
            left = (*self._waiting, *self._writing)
            self._count(self._dropped_cell, sum(map(_lines_in, left)))
            self._waiting, self._writing = [], []
            self._is_closed = True

    def _offer(self, lines: list[bytes]) -> None:
        if not lines:
            return
        content = b"".join(lines)
        dropped = 0
        with self._changed:
            room_bytes = 0 if self._ends.is_set() else self._buffer_bytes - self._waiting_bytes
            if len(content) > room_bytes:
                content = content[: content.rfind(b"\n", 0, max(room_bytes, 0)) + 1]
                dropped = len(lines) - _lines_in(content)
                self._count(self._dropped_cell, dropped)
            if content:
                if not self._waiting:
                    self._changed.notify()
                self._waiting.append(content)
                self._waiting_bytes += len(content)
        if dropped:
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        now = self._clock.monotonic()
        if now - self._told_at >= TOLD_AGAIN_S:
            self._told_at = now
            self._events.warning(
                "access-log-behind",
                path=self._file.path,
                hint="use a faster disk, a larger [log] buffer or [log] sample_one_in; "
                "the ledger counts what the log leaves out",
            )

    def _count(self, cell: int, lines: int) -> None:
        """The lock is held. Once closed the counters may be closed too."""
        if lines and not self._is_closed:
            self._counters.view[cell] += lines

    # The thread

    def _run(self) -> None:
        is_failing = False
        while self._wait():
            error = self._write_waiting()
            if error and not is_failing:
                self._events.error(
                    "access-log-failed", path=self._file.path, reason=error, hint=_HINT
                )
            elif is_failing and not error:
                self._events.info("access-log-recovered", path=self._file.path)
            is_failing = bool(error)
            if error and self._ends.wait(RETRY_S):
                self._write_waiting()
                break
        self._file.close()

    def _wait(self) -> bool:
        """Wait for lines: workers hand them over in batches. False: there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ends.is_set())
            return bool(self._waiting)

    def _write_waiting(self) -> str:
        """Write what waits; return why not all of it was written, "" when it was."""
        with self._changed:
            self._writing, self._waiting = self._waiting, []
        batch = b"".join(self._writing)
        written, error = self._file.append(batch)
        lines = batch.count(b"\n", 0, written)
        with self._changed:
            self._writing = []
            if written < len(batch):
                self._waiting.insert(0, batch[written:])
            self._waiting_bytes -= written
            self._count(self._written_cell, lines)
        return error


def _lines_in(content: bytes) -> int:
    return content.count(b"\n")


def open_access_log(
    config: Config, counters: Counters, clock: Clock, events: EventLog
) -> AccessLog | None:
    """Return the started log of this process; None when the configuration names no file."""
    if not config.log.access:
        return None
    log = AccessLog(config, counters, clock, events)
    log.start()
    return log
