"""What was counted in a time span: the ledger's lines and what has not been rolled up yet.

Rules:
1. Counters files are read before the database. What a roll-up takes in between is then counted
   once: a cell that says less than the ledger has seen adds nothing, and a file that is removed in
   between was read, or is in the sums.
2. What processes have counted since the last roll-up belongs to the step that the present is in.
3. Names that this version does not know (another version counted them) are left out of lines; they
   stay in the database.

Units: Unix seconds; counts and bytes as in the cells.
Does not: choose a step (minutes and hours expire, days are kept long).
Runs in: keeper and commands (blocks on the disk; any thread).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mirror.accounting import ledger_tables as tables
from mirror.accounting.counters import CounterFile
from mirror.accounting.curve_table import read_curve
from mirror.accounting.downloads import read_downloads
from mirror.accounting.history import (
    CurvePoint,
    DownloadLine,
    FetchedLine,
    ObjectLine,
    ServedLine,
    Step,
)
from mirror.accounting.layout import FETCHED_COLUMNS, OTHER, SERVED_COLUMNS, CellName
from mirror.accounting.ledger import LedgerReading
from mirror.accounting.ledger_books import CellNames, begin_of
from mirror.accounting.ledger_tables import Query
from mirror.accounting.objects import read_objects
from mirror.accounting.totals import Totals
from mirror.clock import Clock

_Lines = dict[tuple[int, CellName], dict[str, int]]  # when and which row -> by column


class LedgerHistory:
    """`history.History` of one state directory; `live` reads its counters files."""

    def __init__(
        self, database: LedgerReading, live: Callable[[], Sequence[CounterFile]], clock: Clock
    ) -> None:
        self._database = database
        self._live = live
        self._clock = clock
        self._names = CellNames()

    def served(self, since: float, until: float, step: Step) -> Sequence[ServedLine]:
        """Return the lines in the order of time."""
        return [
            ServedLine(
                at=at,
                group=names[0],
                content_class=names[1],
                outcome=names[2],
                columns=counted,
            )
            for at, names, counted in self._lines("served", SERVED_COLUMNS, since, until, step)
            if len(names) == 3
        ]

    def fetched(self, since: float, until: float, step: Step) -> Sequence[FetchedLine]:
        """Return the lines in the order of time."""
        return [
            FetchedLine(
                at=at,
                upstream=names[0],
                content_class=names[1],
                columns=counted,
            )
            for at, names, counted in self._lines("fetched", FETCHED_COLUMNS, since, until, step)
            if len(names) == 2
        ]

    def served_by_day(self, since: float, until: float) -> Mapping[int, int]:
        complete = min(until, begin_of(self._clock.now(), Step.DAY))
        values = (Step.DAY.value, since, complete, OTHER)
        return dict(self._database.rows(tables.READ_SERVED_BYTES, values))

    def totals(self) -> Totals:
        """Return what was counted since the state directory was made. Raises StoreError."""
        files, (rows, *seen) = self._read([(tables.READ_TOTALS, ())])
        named = Counter(self._names.values(rows))
        named.update(self._since_seen(files, seen))
        return Totals(named)

    def objects(self, since: float, until: float, limit: int) -> Sequence[ObjectLine]:
        return read_objects(self._database, since, until, limit)

    def downloads(self, since: float, until: float) -> Sequence[DownloadLine]:
        return read_downloads(self._database, since, until)

    def curve(self) -> Sequence[CurvePoint]:
        return read_curve(self._database)

    def first_at(self) -> int | None:
        """Return the minute in which counting began; None: nothing was counted yet."""
        files, (marks, *seen) = self._read([(tables.READ_MARK, ("began_at",))])
        if marks:
            return int(marks[0][0])
        return begin_of(self._clock.now(), Step.MINUTE) if self._since_seen(files, seen) else None

    def _lines(
        self, section: str, columns: Sequence[str], since: float, until: float, step: Step
    ) -> list[tuple[int, CellName, dict[str, int]]]:
        files, (cells, rows, *seen) = self._read(
            [
                (tables.READ_CELLS_OF, (section,)),
                (tables.READ_SUMS, (step.value, since, until, section)),
            ]
        )
        places = {number: _place(self._names.of(text)) for number, text in cells}
        counted = ((at, places[number], value) for at, number, value in rows)
        present = begin_of(self._clock.now(), step)
        added = self._since_seen(files, seen) if since <= present < until else {}
        living = (
            (present, _place(name), value) for name, value in added.items() if name[0] == section
        )
        lines: _Lines = {}
        for at, (row, column), value in itertools.chain(counted, living):
            line = lines.get((at, row))
            if line is None:
                line = lines[at, row] = dict.fromkeys(columns, 0)
            if column in line:
                line[column] += value
        return [(at, row, line) for (at, row), line in sorted(lines.items())]

    def _read(
        self, queries: Sequence[Query]
    ) -> tuple[Sequence[CounterFile], list[list[tuple[Any, ...]]]]:
        """Return the files, and the rows of the queries followed by what was seen of each file."""
        files = self._live()  # first: rule 1
        seen = [(tables.READ_SEEN, (file.id,)) for file in files]
        return files, self._database.snapshot([*queries, *seen])

    def _since_seen(
        self, files: Sequence[CounterFile], seen: Sequence[Sequence[tuple[Any, ...]]]
    ) -> Mapping[CellName, int]:
        """Return what the files say beyond what the ledger has seen of them."""
        added: Counter[CellName] = Counter()
        for file, rows in zip(files, seen, strict=True):
            before = self._names.values(rows)
            for name, value in file.named().items():
                if value > (was := before.get(name, 0)):
                    added[name] += value - was
        return added


def _place(name: CellName) -> tuple[CellName, str]:
    """Return the row that a cell is in, and its column."""
    return name[1:-1], name[-1]
