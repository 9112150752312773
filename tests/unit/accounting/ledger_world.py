"""A state directory with processes that count, a keeper that rolls up, and what was really counted.

Runs in: pytest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mirror.accounting.counter_files import read_counter_files, remove_rolled_up
from mirror.accounting.counters import CounterFile, Counters
from mirror.accounting.history import Step
from mirror.accounting.layout import CellName, Layout, layout_of
from mirror.accounting.ledger import Ledger, Retention
from mirror.accounting.ledger_books import CellNames
from mirror.accounting.ledger_history import LedgerHistory
from mirror.accounting.ledger_tables import Query, Statement, Value
from mirror.accounting.state_tables import STATE_TABLES
from mirror.errors import StoreError
from mirror.store.state import STATE_NAME, StateDatabase

NOW = 1_800_000_030.0  # half past a minute
FOR_EVER = Retention(minutes_s=1e9, hours_s=1e9, days_s=1e9)
LAYOUTS = (
    layout_of(),
    layout_of(("ci", "azure")),
    layout_of(("azure", "ci", "lab"), ("https://a.example", "https://b.example")),
)


class KilledError(BaseException):
    """The keeper was killed here."""


class MortalDatabase:
    """The state database of a keeper that dies, or whose disk fails, around a commit."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        self.before_commit: BaseException | None = None
        self.after_commit: BaseException | None = None

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self._database.rows(sql, values)

    def snapshot(self, queries: Sequence[Query]) -> list[list[tuple[Any, ...]]]:
        return self._database.snapshot(queries)

    def transact(self, statements: Sequence[Statement]) -> int:
        _raise_once(self, "before_commit")
        changed = self._database.transact(statements)
        _raise_once(self, "after_commit")
        return changed


class FixedClock:
    def __init__(self, now: float) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class LedgerWorld:
    """`counted` is the truth that everything else is compared with."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.clock = FixedClock(NOW)
        self.state = StateDatabase.open(str(path / STATE_NAME), tables=STATE_TABLES)
        self.database = MortalDatabase(self.state)
        self.ledger = Ledger(self.database)
        self.layout = LAYOUTS[0]
        self.counted: Counter[CellName] = Counter()
        self.processes: list[Counters] = []

    def open(self, slot: int, layout: Layout | None = None) -> Counters:
        opened = Counters.open(self.path, slot, layout or self.layout)
        self.processes.append(opened)
        return opened

    def kill(self, process: Counters) -> None:
        """What a process leaves behind is the same, however it ends."""
        self.processes.remove(process)
        process.close()

    def count(self, process: Counters, cell: int, amount: int = 1) -> None:
        names = tuple(process.layout.names())
        process.view[cell % len(names)] += amount
        self.counted[names[cell % len(names)]] += amount

    def count_name(self, process: Counters, name: CellName, amount: int = 1) -> None:
        self.count(process, tuple(process.layout.names()).index(name), amount)

    def files(self) -> Sequence[CounterFile]:
        return read_counter_files(self.path).files

    def roll_up(self, after_s: float = 0.0) -> Sequence[CounterFile]:
        self.clock.at += after_s
        files = self.files()
        self.ledger.roll_up(files, self.clock.at)
        return files

    def remove(self, files: Sequence[CounterFile]) -> list[str]:
        return [
            file.path for file in files if file.layout != self.layout and remove_rolled_up(file)
        ]

    def restart_keeper(self) -> None:
        self.ledger = Ledger(self.database)

    def history(self) -> LedgerHistory:
        return LedgerHistory(self.database, self.files, self.clock)

    def sums(self, step: Step) -> Counter[CellName]:
        """Return what the database's lines of one step add up to."""
        return self._named(
            "SELECT c.name, SUM(s.value) FROM ledger_sum s JOIN ledger_cell c ON c.id = s.cell"
            f" WHERE s.step = {step.value} GROUP BY c.id"
        )

    def lifetime(self) -> Counter[CellName]:
        return self._named(
            "SELECT c.name, t.value FROM ledger_total t JOIN ledger_cell c ON c.id = t.cell"
        )

    def smallest(self) -> int:
        """Return the smallest value in any table of sums."""
        [(least,)] = self.database.rows(
            "SELECT MIN(value) FROM (SELECT value FROM ledger_sum"
            " UNION ALL SELECT value FROM ledger_total UNION ALL SELECT value FROM ledger_seen)"
        )
        return int(least or 0)

    def close(self) -> None:
        for process in self.processes:
            process.close()
        self.state.close()

    def _named(self, sql: str) -> Counter[CellName]:
        return Counter(CellNames().values(self.database.rows(sql)))


def disk_error() -> StoreError:
    return StoreError("state.db", "the disk is full", noun="state")


def _raise_once(database: MortalDatabase, name: str) -> None:
    error = getattr(database, name)
    if error is not None:
        setattr(database, name, None)
        raise error
