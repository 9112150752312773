"""The state database: what cannot be had again from disk or upstream.

Rules:
1. `synchronous = FULL`: what `set_fact` returned from survives a power cut.
2. It is never rebuilt or deleted by itself: a damaged one is an error with a hint.
3. `user_version` is its schema version; another one is refused.

The `tombstone` table is the room for deleted crates; nothing in this module writes it.
Does not: belong to the store's opening; the keeper opens it beside the store.
Runs in: keeper (any of its threads).
"""

from __future__ import annotations

import threading
from typing import cast

import apsw

from mirror.errors import StoreError
from mirror.store.connections import connect_writer, database_errors, transaction

STATE_VERSION = 1
STATE_NAME = "state.db"
_NEWEST = "newest-date:"
_DAMAGE_HINT = "restore it from a backup, or move it away and begin with an empty one"

_TABLES = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tombstone (
    key TEXT PRIMARY KEY, digest BLOB NOT NULL, withdrawn_at REAL NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
"""
# Facts are few and small; the log is folded back after this many commits.
_COMMITS_PER_CHECKPOINT = 64


class StateDatabase:
    """An open state database."""

    def __init__(self, path: str, connection: apsw.Connection) -> None:
        self._path = path
        self._connection = connection
        self._lock = threading.Lock()
        self._commits = 0

    @classmethod
    def open(cls, path: str) -> StateDatabase:
        """Open it, or make it where there is none. Raises StoreError."""
        with database_errors(path, damage_hint=_DAMAGE_HINT):
            connection = connect_writer(path, synchronous="FULL")
            try:
                _prepare(path, connection)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def fact(self, name: str) -> str | None:
        with self._lock, database_errors(self._path, damage_hint=_DAMAGE_HINT):
            rows = self._connection.execute(
                "SELECT value FROM fact WHERE name = ?", (name,)
            ).fetchall()
        return cast("str", rows[0][0]) if rows else None

    def set_fact(self, name: str, value: str) -> None:
        with self._lock, database_errors(self._path, damage_hint=_DAMAGE_HINT):
            with transaction(self._connection):
                self._connection.execute(
                    "INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value)
                ).fetchall()
            self._commits += 1
            if self._commits % _COMMITS_PER_CHECKPOINT == 0:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def note_channel(self, channel: str, date: str) -> None:
        """Keep the newest date (YYYY-MM-DD) that the manifest of `channel` has had here."""
        if date > (self.fact(_NEWEST + channel) or ""):
            self.set_fact(_NEWEST + channel, date)

    def newest_date(self, channel: str) -> str:
        """Return the newest date that the manifest of `channel` has had here; "": none."""
        return self.fact(_NEWEST + channel) or ""

    def channels(self) -> dict[str, str]:
        """Return the newest date of each channel by its name."""
        with self._lock, database_errors(self._path, damage_hint=_DAMAGE_HINT):
            rows = self._connection.execute(
                "SELECT name, value FROM fact WHERE name GLOB ? ORDER BY name", (_NEWEST + "*",)
            ).fetchall()
        return {cast("str", row[0]).removeprefix(_NEWEST): cast("str", row[1]) for row in rows}

    def close(self) -> None:
        with self._lock:
            self._connection.close(True)


def _prepare(path: str, connection: apsw.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchall()[0][0]
    if version == 0:
        with transaction(connection):
            connection.execute(_TABLES).fetchall()
            connection.execute(f"PRAGMA user_version = {STATE_VERSION}").fetchall()
    elif version != STATE_VERSION:
        raise StoreError(
            path,
            f"schema version {version}, this version keeps {STATE_VERSION}",
            hint="use the version that made it",
            retryable=False,
            noun="state",
        )
