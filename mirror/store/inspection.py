"""The metadata index for whoever looks the whole store through: read-only, in pages.

Rules:
1. Nothing is written, also not beside the database: an index that nobody has open (no log beside
   it) is read as immutable, which makes no files; any other one is read as a worker reads it. A
   mirror that starts meanwhile is noticed before the next statement.
2. Statements are finished before a method returns, so that the writer's log can be reset.
3. Memory does not grow with the number of entries: pages go from key to key.

Does not: open blobs, or judge what it reads.
Runs in: commands and keeper (jobs); one thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

import apsw

from mirror.errors import StoreError
from mirror.store.connections import connect_reader, database_errors
from mirror.store.entry import GZIP, Attestation, Entry, Stored
from mirror.store.layout import index_path
from mirror.store.schema import (
    INDEX_VERSION,
    LOOKUP,
    entry_of_row,
    stored_of_row,
)

PAGE_ROWS = 500
_ANEW = "start the mirror once: it makes the index anew"
_KEYED = LOOKUP.removesuffix("e.key = ?")
_ENTRIES = f"{_KEYED}e.key > ? ORDER BY e.key LIMIT ?"
_ENTRIES_BELOW = f"{_KEYED}e.key >= ? AND e.key < ? AND e.status = 200 ORDER BY e.key LIMIT ?"
_BLOBS = "SELECT digest, length, inode, ctime_ns FROM blob WHERE digest > ? ORDER BY digest LIMIT ?"
_VARIANTS = (
    "SELECT digest, blob FROM variant WHERE digest > ? AND coding = ? AND blob <> x''"
    " ORDER BY digest LIMIT ?"
)
_SUMS = "SELECT count(*), coalesce(sum(length), 0) FROM blob"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRow:
    """What the index says of one file."""

    digest: bytes
    attestation: Attestation


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRow:
    """In which file the gzip form of a content is."""

    digest: bytes
    blob: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entry, and what holds it; `stored` None: the index knows no file for it."""

    entry: Entry
    stored: Stored | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much there is to look at; it may change while a mirror runs."""

    entries: int
    blobs: int
    blob_bytes: int


class Inspection:
    """An open index. Raises StoreError where there is none, or not one of this version."""

    def __init__(self, store_path: str) -> None:
        self._path = index_path(store_path)
        self._is_immutable = False
        if not os.path.exists(self._path):
            hint = "name the mirror's store: --set store.path=…, or --config FILE"
            raise StoreError(store_path, "there is no store here", hint=hint, retryable=False)
        self._connection = self._connect()

    def lookup(self, key: str) -> Stored | None:
        """Return what `key` names. Raises StoreError."""
        rows = self._run(LOOKUP, key)
        return stored_of_row(rows[0]) if rows else None

    def entries_after(self, key: str, limit: int = PAGE_ROWS) -> list[Row]:
        """Return the next entries in order of their keys. Raises StoreError."""
        rows = self._run(_ENTRIES, key, limit)
        return [Row(entry=entry_of_row(row), stored=stored_of_row(row)) for row in rows]

    def stored_between(self, start: str, end: str, limit: int = PAGE_ROWS) -> list[Stored]:
        """Return stored responses with `start` <= key < `end`. Raises StoreError."""
        found = (stored_of_row(row) for row in self._run(_ENTRIES_BELOW, start, end, limit))
        return [stored for stored in found if stored is not None]

    def blobs_after(self, digest: bytes, limit: int = PAGE_ROWS) -> list[BlobRow]:
        """Return the next files in order of their digests. Raises StoreError."""
        return [_blob_of_row(row) for row in self._run(_BLOBS, digest, limit)]

    def blob(self, digest: bytes) -> BlobRow | None:
        """Return what the index says of one file. Raises StoreError."""
        rows = self._run(
            "SELECT digest, length, inode, ctime_ns FROM blob WHERE digest = ?", digest
        )
        return _blob_of_row(rows[0]) if rows else None

    def keys_of(self, digest: bytes, limit: int = 16) -> list[str]:
        """Return keys that name a file. Raises StoreError."""
        rows = self._run(
            "SELECT key FROM entry WHERE digest = ? AND status = 200 ORDER BY key LIMIT ?",
            digest,
            limit,
        )
        return [cast("str", row[0]) for row in rows]

    def variants_after(self, digest: bytes, limit: int = PAGE_ROWS) -> list[VariantRow]:
        """Return the next gzip forms in order of their contents. Raises StoreError."""
        rows = self._run(_VARIANTS, digest, GZIP, limit)
        typed = cast("list[tuple[bytes, bytes]]", rows)
        return [VariantRow(digest=row[0], blob=row[1]) for row in typed]

    def has_variant(self, row: VariantRow) -> bool:
        """Say whether the index still says so. Raises StoreError."""
        found = self._run(
            "SELECT 1 FROM variant WHERE digest = ? AND blob = ?", row.digest, row.blob
        )
        return bool(found)

    def content_of(self, blob: bytes) -> bytes | None:
        """Return the digest of the content that `blob` is a form of, if any. Raises StoreError."""
        rows = self._run("SELECT digest FROM variant WHERE blob = ?", blob)
        return cast("bytes", rows[0][0]) if rows else None

    def extent(self) -> Extent:
        blobs, blob_bytes = cast("tuple[int, int]", self._run(_SUMS)[0])
        (entries,) = cast("tuple[int]", self._run("SELECT count(*) FROM entry")[0])
        return Extent(entries=entries, blobs=blobs, blob_bytes=blob_bytes)

    def close(self) -> None:
        self._connection.close(True)

    def __repr__(self) -> str:
        return f"<Inspection {self._path}{' immutable' if self._is_immutable else ''}>"

    def _run(self, statement: str, *values: str | int | bytes) -> list[tuple[object, ...]]:
        if self._is_immutable and self._has_log():
            self._reopen()
        try:
            with database_errors(self._path):
                return list(self._connection.execute(statement, values).fetchall())
        except StoreError:
            # A mirror may have started between the look and the statement, or rebuilt its index.
            self._reopen()
        with database_errors(self._path, damage_hint=_ANEW):
            return list(self._connection.execute(statement, values).fetchall())

    def _reopen(self) -> None:
        self._connection.close(True)
        self._connection = self._connect()

    def _connect(self) -> apsw.Connection:
        self._is_immutable = not self._has_log()
        with database_errors(self._path, damage_hint=_ANEW):
            connection = self._opened()
            version = connection.execute("PRAGMA user_version").fetchall()
        if version != [(INDEX_VERSION,)]:
            connection.close()
            stated = f"its index has version {version[0][0]}, this one reads {INDEX_VERSION}"
            raise StoreError(self._path, stated, hint=_ANEW, retryable=False)
        return connection

    def _opened(self) -> apsw.Connection:
        if not self._is_immutable:
            connection = connect_reader(self._path)
            connection.set_busy_timeout(2000)  # nobody waits for this reader
            return connection
        name = f"file:{quote(self._path)}?immutable=1"
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        return apsw.Connection(name, flags=flags)

    def _has_log(self) -> bool:
        return os.path.exists(self._path + "-wal")


def _blob_of_row(row: tuple[object, ...]) -> BlobRow:
    digest, size, inode, ctime_ns = cast("tuple[bytes, int, int, int]", row)
    return BlobRow(
        digest=digest, attestation=Attestation(inode=inode, size=size, ctime_ns=ctime_ns)
    )
