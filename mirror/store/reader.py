"""The worker's view of the store: look a key up, open its blob. Never writes.

Rules:
1. An absent, damaged or locked index is a miss, never an error: the keeper answers instead.
2. Statements are finished before `lookup` returns, so that the writer's log can be reset.
3. A blob is handed out only while `fstat` agrees with its attestation; bytes that are loaded into
   memory are hashed first. Rot beneath an unchanged inode is the scrub's to find.
4. A replaced index is noticed at the next look-up when the reader has the shared page (else a
   withdrawal after a rebuild could be missed), at an error, and by `refresh`, which is for about
   once a second. A reader keeps the file it opened until then.

Does not: decide freshness, keep recency, talk to the keeper.
Runs in: worker (and commands that only look).
"""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass

import apsw

from mirror.clock import Clock, SystemClock
from mirror.store.connections import connect_reader
from mirror.store.entry import GZIP, NoVariant, Stored
from mirror.store.files import REAL_FILES, Files
from mirror.store.layout import blob_path, index_path
from mirror.store.page import SharedPage
from mirror.store.schema import (
    INDEX_VERSION,
    LOOKUP,
    VARIANT,
    Row,
    stored_of_row,
    variant_of_row,
)

# While the index is absent a lookup tries to open it at most this often.
_REOPEN_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class BlobFile:
    """An open blob; the receiver closes `fd`."""

    fd: int


@dataclass(frozen=True, slots=True)
class BlobMissing:
    """Evicted, or not reachable: a miss."""


@dataclass(frozen=True, slots=True)
class BlobChanged:
    """Not the attested file, or not the bytes of its name: the keeper must look at it."""


_MISSING = BlobMissing()
_CHANGED = BlobChanged()


class StoreReader:
    """Read-only access to one store, for one thread."""

    def __init__(
        self,
        store_path: str,
        files: Files = REAL_FILES,
        clock: Clock | None = None,
        page: SharedPage | None = None,
    ) -> None:
        self._store_path = store_path
        self._index_path = index_path(store_path)
        self._files = files
        self._clock = clock or SystemClock()
        self._connection: apsw.Connection | None = None
        self._cursor: apsw.Cursor | None = None
        self._page = page
        self._generation = 0
        self._inode = 0
        self._may_reopen_at = 0.0

    def lookup(self, key: str) -> Stored | None:
        """Return what `key` names, or None."""
        rows = self._rows(LOOKUP, (key,))
        return stored_of_row(rows[0]) if rows else None

    def variant(self, stored: Stored) -> Stored | NoVariant:
        """Return `stored` in its coded form: the same entry with the form's digest and length."""
        rows = self._rows(VARIANT, (stored.entry.digest, GZIP))
        return variant_of_row(rows[0], stored) if rows else NoVariant.UNKNOWN

    def open_blob(self, stored: Stored) -> BlobFile | BlobMissing | BlobChanged:
        """Open the file that holds `stored` if it is still the attested one."""
        try:
            fd = self._files.open_read(blob_path(self._store_path, stored.entry.digest))
        except FileNotFoundError:
            return _MISSING
        except OSError as exc:
            return _trouble(exc)
        try:
            agrees = self._files.identify(fd) == stored.attestation
        except OSError:
            agrees = False
        if agrees:
            return BlobFile(fd)
        self._files.close(fd)
        return _CHANGED

    def load_small(self, stored: Stored) -> bytes | BlobMissing | BlobChanged:
        """Return the whole content, hashed; for what is then kept in memory."""
        opened = self.open_blob(stored)
        if not isinstance(opened, BlobFile):
            return opened
        try:
            content = self._files.pread(opened.fd, stored.entry.length, 0)
        except OSError:
            return _MISSING  # an unreadable disk is a miss here; the keeper's attest reports it
        finally:
            self._files.close(opened.fd)
        if hashlib.sha256(content).digest() != stored.entry.digest:
            return _CHANGED
        return content

    def refresh(self) -> bool:
        """Reopen the index if its file was replaced or has appeared; True while it is readable."""
        if self._connection is not None and self._current_inode() == self._inode:
            return True
        self._disconnect()
        self._may_reopen_at = 0.0
        return self._connect()

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def close(self) -> None:
        self._disconnect()

    def __repr__(self) -> str:
        return f"<StoreReader {'open' if self.is_open else 'without index'}>"

    def _rows(self, statement: str, values: tuple[str | bytes, ...]) -> list[Row]:
        cursor = self._cursor
        page = self._page
        if page is not None and page.index_generation != self._generation:
            self._generation = page.index_generation
            self.refresh()
            cursor = self._cursor
        if cursor is not None:
            try:
                return cursor.execute(statement, values).fetchall()
            except apsw.Error:
                self._disconnect()  # the file may have been replaced: one more try below
        if not self._connect() or self._cursor is None:
            return []
        try:
            return self._cursor.execute(statement, values).fetchall()
        except apsw.Error:
            self._disconnect()
            return []

    def _connect(self) -> bool:
        now = self._clock.monotonic()
        if now < self._may_reopen_at:
            return False
        self._may_reopen_at = now + _REOPEN_INTERVAL_S
        # Race: (1) this reader opens the old database, (2) the keeper removes it and makes another
        # with its own log, (3) this reader opens that log and mixes the two. So the first
        # statement, which opens the log, comes before a second look at the inode; an inode that
        # is held open is not given to another file.
        before = self._current_inode()
        if not before:
            return False
        try:
            connection = connect_reader(self._index_path)
        except apsw.Error:
            return False
        if not _is_index(connection) or self._current_inode() != before:
            connection.close()
            return False
        self._connection = connection
        self._cursor = connection.cursor()
        self._inode = before
        self._may_reopen_at = 0.0
        return True

    def _disconnect(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.close(True)

    def _current_inode(self) -> int:
        """Return 0 when there is no index file."""
        try:
            return self._files.identify_path(self._index_path).inode
        except OSError:
            return 0


def _is_index(connection: apsw.Connection) -> bool:
    try:
        version = connection.execute("PRAGMA user_version").fetchall()
        connection.execute("SELECT 1 FROM entry LIMIT 1").fetchall()
    except apsw.Error:
        return False
    return version == [(INDEX_VERSION,)]


def _trouble(exc: OSError) -> BlobMissing | BlobChanged:
    """Tell a tampered name (a symbolic link, a device) from a passing shortage."""
    return _CHANGED if exc.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR) else _MISSING
