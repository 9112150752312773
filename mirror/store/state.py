"""The state database: what cannot be had again from disk or upstream.

Rules:
1. `synchronous = FULL`: what `set_fact` returned from survives a power cut.
2. It is never rebuilt or deleted by itself: a damaged one is an error with a hint.
3. `user_version` is its schema version; an earlier one is brought forward in place, in one
   transaction; a later one is refused.
4. One row per crate: many versions cost one look-up and one write.
5. Other rooms keep tables of their own here (`tables`, `transact`, `snapshot`): one file, one
   backup, one transaction log. Their statements are theirs.

Does not: belong to the store's opening; the keeper opens it beside the store. Know what a crate's
record says (`verify.crate_history`).
Runs in: keeper (any of its threads).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import apsw

from mirror.errors import StoreError
from mirror.store.connections import connect_writer, database_errors, transaction

STATE_VERSION = 3
STATE_NAME = "state.db"
_NEWEST = "newest-date:"
DAMAGE_HINT = "restore it from a backup, or move it away and begin with an empty one"

_USE_THE_LATER = "use the version that made it"

_FACTS = "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
# With a rowid: a record of some 15 versions would not fit a node of a table without one.
_CRATES = """
CREATE TABLE crate (
    name TEXT PRIMARY KEY, is_marked INTEGER NOT NULL, record BLOB NOT NULL
);
CREATE INDEX marked_crate ON crate (name) WHERE is_marked;
"""
# By schema version: what makes the next one of it.
# Version 3 has the tables of other rooms, which are made where they are missing.
_STEPS = {0: _FACTS + _CRATES, 1: "DROP TABLE tombstone;" + _CRATES, 2: ""}
# Facts are few and small; the log is folded back after this many commits.
_COMMITS_PER_CHECKPOINT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CrateRecord:
    """The packed history of a crate; `name` in lower case, as its index file is named.

    `is_marked`: the keeper looks at what is stored of it when it starts.
    """

    name: str
    is_marked: bool
    record: bytes


class StateDatabase:
    """An open state database."""

    def __init__(self, path: str, connection: apsw.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.Lock()
        self._commits = 0

    @classmethod
    def open(cls, path: str, *, tables: str = "") -> StateDatabase:
        """Open it, or make it where there is none.

        `tables` makes those of other rooms where they are missing. Raises StoreError.
        """
        with database_errors(path, damage_hint=DAMAGE_HINT):
            connection = connect_writer(path, synchronous="FULL")
            try:
                _prepare(path, connection, tables)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def fact(self, name: str) -> str | None:
        with self._lock, database_errors(self._path, damage_hint=DAMAGE_HINT):
            rows = self._connection.execute(
                "SELECT value FROM fact WHERE name = ?", (name,)
            ).fetchall()
        return cast("str", rows[0][0]) if rows else None

    def set_fact(self, name: str, value: str) -> None:
        self._write("INSERT OR REPLACE INTO fact VALUES (?, ?)", [(name, value)])

    def note_channel(self, channel: str, date: str) -> None:
        """Keep the newest date (YYYY-MM-DD) that the manifest of `channel` has had here."""
        if date > (self.fact(_NEWEST + channel) or ""):
            self.set_fact(_NEWEST + channel, date)

    def newest_date(self, channel: str) -> str:
        """Return the newest date that the manifest of `channel` has had here; "": none."""
        return self.fact(_NEWEST + channel) or ""

    def channels(self) -> dict[str, str]:
        """Return the newest date of each channel by its name."""
        with self._lock, database_errors(self._path, damage_hint=DAMAGE_HINT):
            rows = self._connection.execute(
                "SELECT name, value FROM fact WHERE name GLOB ? ORDER BY name", (_NEWEST + "*",)
            ).fetchall()
        return {cast("str", row[0]).removeprefix(_NEWEST): cast("str", row[1]) for row in rows}

    def crate_record(self, name: str) -> bytes | None:
        """Return what `put_crate_records` was last given for the crate."""
        with self._lock, database_errors(self._path, damage_hint=DAMAGE_HINT):
            rows = self._connection.execute(
                "SELECT record FROM crate WHERE name = ?", (name,)
            ).fetchall()
        return cast("bytes", rows[0][0]) if rows else None

    def put_crate_records(self, records: Sequence[CrateRecord]) -> None:
        """Keep them all, or none; what returned survives a power cut."""
        self._write(
            "INSERT INTO crate VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
            " SET is_marked = excluded.is_marked, record = excluded.record",
            [(record.name, int(record.is_marked), record.record) for record in records],
        )

    def marked_crates(self) -> list[str]:
        with self._lock, database_errors(self._path, damage_hint=DAMAGE_HINT):
            rows = self._connection.execute("SELECT name FROM crate WHERE is_marked").fetchall()
        return [cast("str", row[0]) for row in rows]

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Raises StoreError."""
        return self.snapshot([(sql, values)])[0]

    def snapshot(self, queries: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]]:
        """Return the rows of each query, all of the same moment. Raises StoreError."""
        with self._lock, database_errors(self._path, damage_hint=DAMAGE_HINT):
            return snapshot_of(self._connection, queries)

    def transact(self, statements: Sequence[tuple[str, Sequence[Sequence[Any]]]]) -> int:
        """Run each statement once per row of its values: all of them or none.

        Returns how many rows changed; what returned survives a power cut. Raises StoreError.
        """
        with self._lock, database_errors(self._path, damage_hint=DAMAGE_HINT):
            before = self._connection.total_changes()
            with transaction(self._connection):
                for statement, rows in statements:
                    self._connection.executemany(statement, rows).fetchall()
            self._note_commit()
            return self._connection.total_changes() - before

    def close(self) -> None:
        with self._lock:
            self._connection.close(True)

    def _write(self, statement: str, rows: Sequence[tuple[str | int | bytes, ...]]) -> None:
        with self._lock, database_errors(self._path, damage_hint=DAMAGE_HINT):
            with transaction(self._connection):
                self._connection.executemany(statement, rows).fetchall()
            self._note_commit()

    def _note_commit(self) -> None:
        self._commits += 1
        if self._commits % _COMMITS_PER_CHECKPOINT == 0:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


def snapshot_of(
    connection: apsw.Connection, queries: Sequence[tuple[str, Sequence[Any]]]
) -> list[list[tuple[Any, ...]]]:
    """Return the rows of each query, all of the same moment. Raises apsw.Error."""
    connection.execute("BEGIN").fetchall()
    try:
        return [connection.execute(sql, tuple(values)).fetchall() for sql, values in queries]
    finally:
        connection.execute("ROLLBACK").fetchall()  # it read only


def version_error(path: str, version: int) -> StoreError:
    is_earlier = version < STATE_VERSION
    return StoreError(
        path,
        f"schema version {version}, this version keeps {STATE_VERSION}",
        hint="start the mirror with this version first" if is_earlier else _USE_THE_LATER,
        retryable=False,
        noun="state",
    )


def _prepare(path: str, connection: apsw.Connection, tables: str) -> None:
    version = cast("int", connection.execute("PRAGMA user_version").fetchall()[0][0])
    if version != STATE_VERSION and version not in _STEPS:
        raise version_error(path, version)
    with transaction(connection):
        connection.execute(_STEPS.get(version, "") + tables).fetchall()
        connection.execute(f"PRAGMA user_version = {STATE_VERSION}").fetchall()
