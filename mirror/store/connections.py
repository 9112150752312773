"""SQLite connections of this room: one writer, any number of readers that never write.

Rules:
1. Readers are opened read-only with `query_only`, never checkpoint, also not on close: two
   connections that write or checkpoint at once meet the WAL-reset bug of SQLite 3.7.0-3.51.2.
2. A connection never crosses a fork, and no one opens a database file beside SQLite in a process
   that has it open: closing such a descriptor drops SQLite's POSIX locks.
3. The schema is not trusted (a distrusted disk): DEFENSIVE, no `trusted_schema`, no mmap (a
   truncated file would raise SIGBUS instead of an error).

Runs in: worker (readers) and keeper.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import apsw

from mirror.errors import DiskTrouble, StoreError

# A reader meets a lock only while somebody recovers the log; a worker's loop may wait this long.
_READER_BUSY_MS = 20
_WRITER_BUSY_MS = 5000
_FULL = "the disk is full: free space on the one that holds the database"
_TROUBLES: dict[type[apsw.Error], DiskTrouble] = {
    apsw.IOError: DiskTrouble.FAILING,
    apsw.ReadOnlyError: DiskTrouble.READ_ONLY,
    apsw.PermissionsError: DiskTrouble.READ_ONLY,
    apsw.CantOpenError: DiskTrouble.OPEN_FILES,  # of its log, mostly
}


class DatabaseDamagedError(StoreError):
    """The database file is not readable as one: rebuild it, or (state.db) restore a backup."""

    def __init__(self, source: str, reason: str, *, hint: str = "") -> None:
        super().__init__(source, f"damaged database: {reason}", hint=hint, retryable=False)


@contextlib.contextmanager
def database_errors(source: str, *, damage_hint: str = "") -> Iterator[None]:
    """Translate every SQLite error of the block; `damage_hint` is for who must repair it."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as exc:
        raise DatabaseDamagedError(source, str(exc), hint=damage_hint) from exc
    except apsw.FullError as exc:
        trouble = DiskTrouble.FULL
        raise StoreError(source, str(exc), hint=_FULL, trouble=trouble) from exc
    except apsw.Error as exc:
        raise StoreError(source, str(exc), trouble=_TROUBLES.get(type(exc))) from exc


def connect_reader(path: str) -> apsw.Connection:
    """Open `path` for reading. Raises apsw.Error, CantOpenError when it is absent."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        _harden(connection)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.set_busy_timeout(_READER_BUSY_MS)
        connection.execute("PRAGMA query_only = 1; PRAGMA wal_autocheckpoint = 0").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def connect_writer(path: str, *, synchronous: str) -> apsw.Connection:
    """Open or create `path` for writing. Raises apsw.Error."""
    connection = apsw.Connection(path)
    try:
        _harden(connection)
        connection.set_busy_timeout(_WRITER_BUSY_MS)
        connection.execute(
            f"PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};"
            " PRAGMA wal_autocheckpoint = 0"
        ).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """Commit what the block writes, or roll it back.

    Not apsw's own context manager: SQLite itself rolls back on a full disk, and a savepoint that
    is gone then hides that error behind another one.
    """
    connection.execute("BEGIN IMMEDIATE").fetchall()
    try:
        yield
        connection.execute("COMMIT").fetchall()
    except BaseException:
        if connection.in_transaction:
            with contextlib.suppress(apsw.Error):
                connection.execute("ROLLBACK").fetchall()
        raise


def _harden(connection: apsw.Connection) -> None:
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.execute("PRAGMA mmap_size = 0").fetchall()
