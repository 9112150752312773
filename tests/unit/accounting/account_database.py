"""A state database whose transactions can be made to fail, before or after they happen.

Runs in: pytest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mirror.accounting.ledger_tables import Query, Statement, Value
from mirror.accounting.state_tables import STATE_TABLES
from mirror.errors import StoreError
from mirror.store.state import StateDatabase


class AccountDatabase:
    """`fails`: "before" or "after" the next transaction; once."""

    def __init__(self, path: Path) -> None:
        self._path = str(path / "state.db")
        self._database = StateDatabase.open(self._path, tables=STATE_TABLES)
        self.fails = ""

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self._database.rows(sql, values)

    def snapshot(self, queries: Sequence[Query]) -> list[list[tuple[Any, ...]]]:
        return self._database.snapshot(queries)

    def transact(self, statements: Sequence[Statement]) -> int:
        fails, self.fails = self.fails, ""
        if fails == "before":
            raise self._error()
        changed = self._database.transact(statements)
        if fails == "after":
            raise self._error()
        return changed

    def close(self) -> None:
        self._database.close()

    def _error(self) -> StoreError:
        return StoreError(self._path, "no space left", hint="", retryable=True, noun="state")
