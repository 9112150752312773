"""What workers tell of served objects, taken into curve, top objects and download counts.

Rules:
1. `used` is called in the keeper's event loop and never waits: while `keep` copies what it writes,
   uses are put aside and taken in afterwards.
2. `keep` runs in a thread once a minute and writes what has changed in one transaction: objects,
   downloads, the curve's points. So a killed keeper loses of them what it was told since: a minute
   at most. What the curve goes on with is written every `STATE_EVERY_S` and by `keep_all`, the
   keeper's end: a killed keeper's successor has what was known a quarter of an hour ago.
3. When the database refuses, nothing is given up: the next `keep` writes it.

Cost: 3 us for each use in the loop, and what the curve says.

Units: Unix seconds; bytes.
Does not: know the store: policy and footprint come in through `CurveModel`.
Runs in: keeper.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mirror.accounting.curve import Curve, CurveModel, sizes_around
from mirror.accounting.curve_table import (
    STATE_EVERY_S,
    put_points,
    put_states,
    read_saved_at,
    read_states,
)
from mirror.accounting.downloads import (
    DownloadCounts,
    expire_downloads,
    read_batch,
)
from mirror.accounting.history import CurvePoint, Step
from mirror.accounting.ledger import LedgerDatabase
from mirror.accounting.ledger_tables import Statement
from mirror.accounting.objects import ObjectDays, expire_objects
from mirror.accounting.uses import LeftOut, Use
from mirror.clock import Clock
from mirror.events import EventLog

_DAY_S = Step.DAY.value


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsPlan:
    """`top_objects` 0: none; `budget_bytes` of the store in force."""

    curve: CurveModel
    budget_bytes: int
    top_objects: int
    days_kept_s: float


class ObjectAccounts:
    """`uses.UseObserver`, and a `bookkeeper.Chore` by `keep`."""

    def __init__(
        self, database: LedgerDatabase, plan: AccountsPlan, clock: Clock, log: EventLog
    ) -> None:
        """Blocks on the disk. Raises: StoreError."""
        self._database = database
        self._plan = plan
        self._clock = clock
        self._log = log
        self._aside: deque[tuple[Sequence[Use], LeftOut]] = deque()  # needs no lock
        self._lock = threading.Lock()  # guards what is below; held without waiting for anything
        self._downloads = DownloadCounts(read_batch(database))
        self._objects = ObjectDays(plan.top_objects)
        now = clock.now()
        self._objects.restore(database, _day_of(now))
        saved_at = read_saved_at(database)
        self._faded_at = now if saved_at is None else min(saved_at, now)
        self._saved_at = saved_at or 0.0
        self._curve = self._read_curve()
        self._is_changed = self._is_unsaved = False

    def __repr__(self) -> str:
        return f"<ObjectAccounts {self._curve!r} {len(self._downloads)} downloads to write>"

    def used(self, uses: Sequence[Use], left_out: LeftOut, /) -> None:
        self._aside.append((uses, left_out))
        if self._lock.acquire(blocking=False):
            try:
                self._take_in()
            finally:
                self._lock.release()

    def points(self) -> list[CurvePoint]:
        """Return the curve of this moment; any thread."""
        with self._lock:
            return self._curve.points()

    def keep(self, now: float) -> None:
        """Write what has changed; blocks. One at a time. Raises: StoreError."""
        self._keep(now, is_state_due=not 0.0 <= now - self._saved_at < STATE_EVERY_S)

    def keep_all(self, now: float) -> None:
        """As `keep`, with all that the next keeper goes on with."""
        self._keep(now, is_state_due=True)

    def _keep(self, now: float, *, is_state_due: bool) -> None:
        self._settle()
        with self._lock:
            self._take_in()
            self._curve.fade(now - self._faded_at)
            self._faded_at = now
            statements = [*self._objects.statements(), *self._downloads.take()]
            points = self._curve.points() if self._is_changed else []
            self._is_unsaved |= self._is_changed
            self._is_changed = False
            states = self._curve.states() if is_state_due and self._is_unsaved else []
            refused, self._downloads.refused = self._downloads.refused, 0
        self._tell_refused(refused)
        curve = [*put_points(points), *(put_states(states, now) if states else [])]
        self._write([*statements, *curve, *self._expire(now)])
        if states:
            self._saved_at, self._is_unsaved = now, False
        self._settle()
        with self._lock:
            self._objects.written(_day_of(now))

    def _settle(self) -> None:
        if self._downloads.is_batch_out:
            written_batch = read_batch(self._database)
            with self._lock:
                self._downloads.settle(written_batch)

    def _take_in(self) -> None:
        now = self._clock.now()
        while self._aside:
            uses, left_out = self._aside.popleft()
            self._curve.used(uses, left_out, int(now * 1000))
            self._objects.used(uses, left_out, _day_of(now))
            self._downloads.used(uses, _day_of(now))
            self._is_changed = True

    def _write(self, statements: Sequence[Statement]) -> None:
        try:
            self._database.transact(statements)
        except BaseException:
            with self._lock:
                self._objects.not_written()
                self._is_changed = True
            raise

    def _tell_refused(self, refused: int) -> None:
        if refused:
            self._log.error(
                "downloads-not-counted", downloads=refused,
                hint="the state directory's disk is full or too slow; see earlier events",
            )  # fmt: skip

    def _expire(self, now: float) -> list[Statement]:
        before_day = _day_of(now - self._plan.days_kept_s)
        return [*expire_objects(before_day), *expire_downloads(before_day)]

    def _read_curve(self) -> Curve:
        sizes = sizes_around(self._plan.budget_bytes)
        try:
            return Curve(self._plan.curve, sizes, read_states(self._database))
        except ValueError as exc:
            self._log.warning(
                "curve-begins-anew", reason=str(exc),
                hint="nothing to do: the miss-ratio curve is there again after some requests",
            )  # fmt: skip
            return Curve(self._plan.curve, sizes)


def _day_of(now: float) -> int:
    return int(now // _DAY_S) * _DAY_S
