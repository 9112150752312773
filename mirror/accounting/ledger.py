"""The ledger: what all processes ever counted, rolled up by minute, hour and day.

Rules:
1. Per counters file, what is added is what its cells say minus what they said at the last roll-up.
   That difference goes to the minute, the hour, the day and the total in the same transaction that
   keeps what the cells said: whoever dies, whenever, nothing is lost and nothing counted twice.
2. Sums are kept by name (`layout`), so that files of any layout add up.
3. A cell that went back (a power cut took the newest pages of its file) adds nothing and is
   followed from where it is: what the ledger has was counted, and counting goes on there.
4. A roll-up soon after a minute's end closes that minute, for what it finds was counted in it. What
   workers counted while there was no keeper belongs to the minute in which one came back.
5. What was seen of a file outlives the file for some time: who moves one away and back does not
   count it twice, and a reader that read the file before its removal finds what belongs to it.

Units: Unix seconds; counts and bytes as in the cells.
Does not: read or remove files (`counter_files`), keep time (`bookkeeper`), answer by time span
(`ledger_history`).
Runs in: keeper.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mirror.accounting import ledger_tables as tables
from mirror.accounting.counters import CounterFile
from mirror.accounting.history import Step
from mirror.accounting.layout import CellName, Layout
from mirror.accounting.ledger_books import (
    Books,
    CellNames,
    Entry,
    KnownFile,
    begin_of,
    sums_by_layout,
)
from mirror.accounting.ledger_tables import Query, Statement, Value
from mirror.accounting.totals import Totals

GONE_KEPT_S = 30 * 86400.0
EXPIRED_AT_ONCE = 20_000  # rows: a transaction of some 50 ms, between which other writers pass


class LedgerReading(Protocol):
    """Reads the state database. Raises: StoreError."""

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]: ...

    def snapshot(self, queries: Sequence[Query]) -> list[list[tuple[Any, ...]]]:
        """Return the rows of each query, all of the same moment."""


class LedgerDatabase(LedgerReading, Protocol):
    """Reads and writes it. Raises: StoreError."""

    def transact(self, statements: Sequence[Statement]) -> int:
        """Run them all or none; return how many rows changed. What returned is durable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long lines are kept; seconds."""

    minutes_s: float
    hours_s: float
    days_s: float

    def of(self, step: Step) -> float:
        return {Step.MINUTE: self.minutes_s, Step.HOUR: self.hours_s, Step.DAY: self.days_s}[step]


class Ledger:
    """One per keeper. Its methods block on the disk; any thread may call them."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._books: Books | None = None
        self._is_unsure = False  # whether the database holds something else than the books say
        self._names: dict[Layout, tuple[CellName, ...]] = {}
        self._texts = CellNames()

    def roll_up(self, files: Sequence[CounterFile], now: float) -> None:
        """Add what `files` say to the sums; they must be all there are, read after the last call.

        Raises: StoreError; then nothing changed, or everything did: call again.
        """
        with self._lock:
            entry = Entry(self._books_that_met(files))
            for file in files:
                entry.enter(file, self._names_of(file.layout))
            entry.leave_out_others(now)
            if statements := entry.statements(now):
                # A commit that failed may still have reached the disk: the books are then read
                # again before anything is added to them.
                self._is_unsure = True
                self._database.transact(statements)
            self._books, self._is_unsure = entry.books_after(now), False

    def expire(self, now: float, retention: Retention) -> int:
        """Delete the lines that are older than they are kept; return how many.

        The step that the limit falls into stays. Totals stay for ever. Raises: StoreError.
        """
        deleted = 0
        for step in Step:
            values = (step.value, begin_of(now - retention.of(step), step), EXPIRED_AT_ONCE)
            while changed := self._database.transact([(tables.EXPIRE_SUMS, [values])]):
                deleted += changed
        with self._lock:
            self._is_unsure = True
            before = (now - GONE_KEPT_S,)
            self._database.transact(
                [(tables.EXPIRE_SEEN, [before]), (tables.EXPIRE_FILES, [before])]
            )
        return deleted

    def totals(self, files: Sequence[CounterFile]) -> Totals:
        """Return what was counted since the state directory was made, of each file as it was read.

        It never goes back from one call to the next if `files` were read after the call before,
        also when files were removed meanwhile. Asks the database only before the first roll-up.
        Raises: StoreError.
        """
        books = self._books
        if books is None or not all(map(books.has_met, files)):
            with self._lock:
                books = self._books = self._books_that_met(files)
        named = Counter(books.totals)
        for layout, cells in sums_by_layout(files, books).items():
            names = self._names_of(layout)
            named.update({names[at]: value for at, value in enumerate(cells) if value})
        return Totals(named)

    def _books_that_met(self, files: Sequence[CounterFile]) -> Books:
        """Return what the database holds, with what was seen of each of `files`."""
        books = self._books
        if books is None or self._is_unsure:
            books = self._read_books()
        seen = {file.id: self._read_seen(file) for file in files if not books.has_met(file)}
        self._is_unsure = False
        return replace(books, seen={**books.seen, **seen}) if seen else books

    def _read_books(self) -> Books:
        cells, files, totals, marks = self._database.snapshot(
            [
                (tables.READ_CELLS, ()),
                (tables.READ_FILES, ()),
                (tables.READ_TOTALS, ()),
                (tables.READ_MARK, ("rolled_up_at",)),
            ]
        )
        return Books(
            cells=self._texts.values([(name, number) for number, name in cells]),
            files={
                identity: KnownFile(number=number, is_gone=bool(is_gone))
                for identity, number, is_gone in files
            },
            totals=self._texts.values(totals),
            seen={},
            rolled_up_at=marks[0][0] if marks else 0.0,
        )

    def _read_seen(self, file: CounterFile) -> tuple[int, ...]:
        found = self._texts.values(self._database.rows(tables.READ_SEEN, (file.id,)))
        return tuple(found.get(name, 0) for name in self._names_of(file.layout))

    def _names_of(self, layout: Layout) -> tuple[CellName, ...]:
        found = self._names.get(layout)
        if found is None:
            found = self._names[layout] = tuple(layout.names())
        return found
