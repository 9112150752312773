"""The state database for those who only look: the keeper's pages and the commands.

Rules:
1. It never writes and never checkpoints (`connections`), so it works beside a living keeper, after
   a killed one, and while none runs.
2. Queries that belong together see one moment.

Does not: know what its tables say.
Runs in: keeper and commands (any thread).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import apsw

from mirror.errors import StoreError
from mirror.store.connections import connect_reader, database_errors
from mirror.store.state import DAMAGE_HINT, STATE_VERSION, snapshot_of, version_error

_AS_ITS_USER = "run it as the user that the mirror runs as, or as root"
_BUSY_MS = 2000  # a lock is met only while somebody recovers the log of a killed keeper


class StateReader:
    """An open state database; a context manager."""

    def __init__(self, path: str, connection: apsw.Connection) -> None:
        """Use `StateReader.open`."""
        self._path = path
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: str) -> StateReader:
        """Raises StoreError where there is none, it may not be read, or is of another version."""
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise StoreError(
                path,
                "there is none yet",
                hint="start the mirror once, or name its directory: --set state.path=…",
                noun="state",
            ) from exc
        except OSError as exc:
            reason = exc.strerror or "cannot be read"
            raise StoreError(path, reason, hint=_AS_ITS_USER, noun="state") from exc
        with database_errors(path, damage_hint=DAMAGE_HINT), _denials(path):
            connection = connect_reader(path)
            try:
                connection.set_busy_timeout(_BUSY_MS)
                version = cast("int", connection.execute("PRAGMA user_version").fetchall()[0][0])
                if version != STATE_VERSION:
                    raise version_error(path, version)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Raises StoreError."""
        return self.snapshot([(sql, values)])[0]

    def snapshot(self, queries: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]]:
        """Return the rows of each query, all of the same moment. Raises StoreError."""
        with self._lock, database_errors(self._path, damage_hint=DAMAGE_HINT):
            return snapshot_of(self._connection, queries)

    def close(self) -> None:
        with self._lock:
            self._connection.close(True)

    def __enter__(self) -> StateReader:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


@contextlib.contextmanager
def _denials(path: str) -> Iterator[None]:
    """SQLite says "unable to open" and "readonly" to who may not read the file, or its log."""
    try:
        yield
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as exc:
        raise StoreError(path, str(exc), hint=_AS_ITS_USER, noun="state") from exc
