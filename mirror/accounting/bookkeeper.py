"""Keeps the ledger: once a minute, at the keeper's start and at its end.

Rules:
1. Nothing here runs on the event loop: a disk that hangs delays a roll-up, not a fill.
2. A roll-up that fails is told and made up for by the next one: what is in the counters files
   stays there. A file that cannot be read keeps no other from being counted. The same reason is
   told once, not once per minute.
3. Files of another layout than the one in force, which nobody counts into any more, are removed
   when the ledger has what they say.
4. Whoever keeps other tables up to date by the minute (`take_on`) does it here, after the roll-up,
   with the same threads and the same end. A chore that fails does not stop the others.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence

from mirror.accounting.counter_files import read_counter_files, remove_rolled_up
from mirror.accounting.history import Step
from mirror.accounting.layout import Layout
from mirror.accounting.ledger import Ledger, Retention
from mirror.accounting.ledger_books import begin_of
from mirror.accounting.totals import Totals
from mirror.clock import Clock
from mirror.errors import MirrorError
from mirror.events import EventLog

_LATE_S = 0.05  # after the minute's end, so that a timer that is early does not split a minute

Chore = Callable[[float], None]  # called with Unix time, in a thread; raises MirrorError


class Bookkeeper:
    """Rolls up the counters files of `state_path`; `layout` is the one in force."""

    def __init__(
        self,
        ledger: Ledger,
        state_path: str,
        layout: Layout,
        retention: Retention,
        clock: Clock,
        log: EventLog,
    ) -> None:
        self._ledger = ledger
        self._state_path = state_path
        self._layout = layout
        self._retention = retention
        self._clock = clock
        self._log = log
        self._chores: list[Chore] = []
        self._last_chores: list[Chore] = []
        self._turn = threading.Lock()
        self._told: dict[Chore, str] = {}
        self._running: asyncio.Task[None] | None = None

    def take_on(self, chore: Chore, at_end: Chore | None = None) -> None:
        """Call `chore` after each roll-up; after the last one `at_end`, if there is such."""
        self._chores.append(chore)
        self._last_chores.append(at_end or chore)

    def start(self) -> None:
        """Keep the books at once, and then by the minute, in the background."""
        self._running = asyncio.create_task(self._run(), name="bookkeeper")

    async def aclose(self) -> None:
        """Keep the books for the last time."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        await asyncio.to_thread(self._do, (self._roll_up, *self._last_chores))

    def totals(self) -> Totals:
        """Return what was counted since the state directory was made, to this moment.

        Raises: StoreError.
        """
        return self._ledger.totals(read_counter_files(self._state_path).files)

    def keep(self) -> None:
        """Roll up and do the chores; blocks. One at a time, whoever calls."""
        self._do((self._roll_up, *self._chores))

    async def _run(self) -> None:
        expired_hour = 0
        while True:
            await asyncio.to_thread(self.keep)
            now = self._clock.now()
            if expired_hour != (hour := begin_of(now, Step.HOUR)):
                await asyncio.to_thread(self._do, (self._expire,))
                expired_hour = hour
            await asyncio.sleep(begin_of(now, Step.MINUTE) + Step.MINUTE.value + _LATE_S - now)

    def _do(self, chores: Sequence[Chore]) -> None:
        for chore in chores:
            with self._turn:
                try:
                    chore(self._clock.now())
                    self._told.pop(chore, None)
                except Exception as exc:  # noqa: BLE001 - the edge of a job: the next turn goes on
                    self._tell(chore, exc)

    def _roll_up(self, now: float) -> None:
        found = read_counter_files(self._state_path)
        self._ledger.roll_up(found.files, now)
        for file in found.files:
            if file.layout != self._layout and remove_rolled_up(file):
                self._log.info("counters-file-removed", path=file.path)
        if found.refused:
            raise found.refused[0]  # told when the others are in the ledger

    def _expire(self, now: float) -> None:
        self._ledger.expire(now, self._retention)

    def _tell(self, chore: Chore, error: Exception) -> None:
        if self._told.get(chore) == (reason := str(error)):
            return
        self._told[chore] = reason
        hint = "mend what the reason names; counts stay in the counters files until then"
        source = ""
        if isinstance(error, MirrorError):
            source, reason, hint = error.source, error.message, error.hint or hint
        else:
            reason = repr(error)
        self._log.error("ledger-not-complete", source=source, reason=reason, hint=hint)
