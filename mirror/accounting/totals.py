"""The sum over all counters files: what was served, what was fetched, what that saved.

Rules:
1. Absent files count nothing; a file of another layout is an error, for its sums would be missing.
2. Saved is content sent minus content received, per class; it is negative while the store warms
   up with objects that nobody asked for twice, and that is said, not hidden.

Units: bytes of content (RFC 9110), and of heads where named so.
Runs in: keeper, commands.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass

from mirror.accounting.counters import (
    CELLS,
    CLASSES,
    FILE_BYTES,
    FILE_PREFIX,
    OUTCOMES,
    Outcome,
    check_head,
    fetched_row,
    served_row,
)
from mirror.errors import StoreError
from mirror.route.route import ContentClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    requests: int
    content_bytes: int
    head_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    requests: int
    content_bytes: int
    not_modified: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """`cells` is the sum of all files, in the layout of `counters`."""

    cells: tuple[int, ...]

    def served(self, content_class: ContentClass | None, outcome: Outcome | None = None) -> Served:
        """Return one row, or (outcome None) the sum of the class; class None: no content class."""
        rows = [
            served_row(content_class, each)
            for each in (OUTCOMES if outcome is None else (outcome,))
        ]
        return Served(
            requests=sum(self.cells[row] for row in rows),
            content_bytes=sum(self.cells[row + 1] for row in rows),
            head_bytes=sum(self.cells[row + 2] for row in rows),
        )

    def fetched(self, content_class: ContentClass) -> Fetched:
        row = fetched_row(content_class)
        return Fetched(
            requests=self.cells[row],
            content_bytes=self.cells[row + 1],
            not_modified=self.cells[row + 2],
        )

    def saved_bytes(self, content_class: ContentClass) -> int:
        """Return the content bytes sent that no upstream had to send."""
        sent = self.served(content_class).content_bytes
        return sent - self.fetched(content_class).content_bytes

    def saved_bytes_total(self) -> int:
        return sum(self.saved_bytes(content_class) for content_class in CLASSES)

    def __repr__(self) -> str:
        return f"<Totals {sum(self.served(each).requests for each in (*CLASSES, None))} requests>"


def read_totals(state_path: str) -> Totals:
    """Return the sum of all counters files; processes may go on counting meanwhile.

    Raises: StoreError for a file that cannot be read or is of another layout.
    """
    cells = [0] * CELLS
    for path in sorted(glob.glob(os.path.join(glob.escape(state_path), FILE_PREFIX + "*"))):
        for index, value in enumerate(_read_cells(path)):
            cells[index] += value
    return Totals(cells=tuple(cells))


def _read_cells(path: str) -> tuple[int, ...]:
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as exc:
        raise StoreError(path, exc.strerror or "cannot be read", noun="state") from exc
    if not content:
        return ()  # made this moment by a process that has not written its head yet
    check_head(path, content)
    with memoryview(content)[FILE_BYTES - CELLS * 8 :].cast("Q") as view:
        return tuple(view)
