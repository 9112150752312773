"""The keeper's end of the metadata index: one writing connection, one reading one.

Rules:
1. Only this class writes `index.db`. Transactions are short: no file is touched inside one.
2. Reading has its own connection and lock, so that a look-up never waits for a commit's fsync.
3. The log is checkpointed here, by size, after a commit; readers never do it.
4. What withdraws something commits with `durable=True` (synchronous FULL): a power cut must not
   bring back what was withdrawn. The rest commits at NORMAL: losing the newest entries costs an
   adoption, never a wrong byte.

Runs in: keeper (any of its threads).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import apsw

from mirror.errors import StoreError
from mirror.store.budget import BLOB_OVERHEAD_BYTES, BLOCK_BYTES
from mirror.store.changes import Changes
from mirror.store.connections import (
    DatabaseDamagedError,
    connect_reader,
    connect_writer,
    database_errors,
    transaction,
)
from mirror.store.entry import (
    GENERATION_PROOFS,
    GZIP,
    SIGNED_GENERATION,
    Attestation,
    Entry,
    NoVariant,
    Stored,
)
from mirror.store.eviction import policy_in_force
from mirror.store.knowledge import Packed, RecentDates, Statement, best, find, split
from mirror.store.schema import (
    ENTRIES_OF_GENERATIONS,
    ENTRIES_OF_PROOF,
    ENTRIES_OF_RANGE,
    INDEX_VERSION,
    LOOKUP,
    TABLES,
    VARIANT,
    entry_of_row,
    prefix_end,
    stored_of_row,
    variant_of_row,
)
from mirror.store.unneeded import Unneeded

# SQLite's own default is 1,000 pages of 4 KiB; readers here finish at once, so the log resets.
_CHECKPOINT_PAGES = 1000
_STEPS_PER_ASK = 100_000  # of SQLite's machine: some milliseconds


class Index:
    """An open index. Build it with `create` or `open`."""

    def __init__(self, path: str, writer: apsw.Connection) -> None:
        self._path = path
        self._writer = writer
        self._reader = connect_reader(path)
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._log_pages = 0
        self._dates = RecentDates()
        self.is_damaged = False
        self.unneeded = Unneeded(self._read)
        self.policy = policy_in_force()  # by which changes rank blobs
        writer.set_wal_hook(self._note_log_size)

    @classmethod
    def create(cls, path: str) -> Index:
        """Make an empty index where there is none. Raises StoreError."""
        with database_errors(path):
            writer = connect_writer(path, synchronous="NORMAL")
            try:
                with transaction(writer):
                    writer.execute(TABLES).fetchall()
                    writer.execute(f"PRAGMA user_version = {INDEX_VERSION}").fetchall()
                return cls(path, writer)
            except BaseException:
                writer.close()
                raise

    @classmethod
    def open(cls, path: str) -> Index:
        """Open an existing index.

        Raises: DatabaseDamagedError when it is no index of this version; StoreError otherwise.
        """
        with database_errors(path):
            writer = connect_writer(path, synchronous="NORMAL")
            try:
                _require_version(path, writer)
                return cls(path, writer)
            except BaseException:
                writer.close()
                raise

    def lookup(self, key: str) -> Stored | None:
        """Return what `key` names. Damage is a miss; the next change repairs it."""
        try:
            rows = self._read(LOOKUP, key)
        except StoreError:
            return None
        return stored_of_row(rows[0]) if rows else None

    def entries_of_prefix(self, prefix: str) -> list[Entry]:
        """Return the entries of blobs whose key begins so, sorted by key. Raises StoreError."""
        rows = self._read(ENTRIES_OF_RANGE, prefix, prefix_end(prefix))
        return [entry_of_row(row) for row in rows]

    def entries_of_proof(self, proof: str) -> list[Entry]:
        """Return the entries of blobs that `proof` vouches for, sorted by key.

        Reads the whole table, but for generations.

        Raises: StoreError.
        """
        is_of_few = proof in GENERATION_PROOFS
        statement = ENTRIES_OF_GENERATIONS if is_of_few else ENTRIES_OF_PROOF
        return [entry_of_row(row) for row in self._read(statement, proof)]

    def vouched(self, path: str) -> Statement | None:
        """Return what a signed manifest states about `path`, else what the newest of those that
        know it does. Raises StoreError."""
        date, name = split(path)
        found = [(packed, find(packed.records, name)) for packed in self._packed(date)]
        return best(
            self._statement(packed, digest) for packed, digest in found if digest is not None
        )

    def manifest_read(self, key: str) -> bytes | None:
        """Return the digest of the manifest that `key` names, if that one was read."""
        rows = self._read(
            "SELECT e.digest FROM entry e JOIN manifest m ON m.digest = e.digest"
            " WHERE e.key = ? AND e.status = 200",
            key,
        )
        return cast("bytes", rows[0][0]) if rows else None

    def forget_packed(self) -> None:
        """A manifest was read: look into the tables again."""
        with self._read_lock:
            self._dates.clear()

    def fact(self, name: str) -> str:
        rows = self._read("SELECT value FROM fact WHERE name = ?", name)
        return cast("str", rows[0][0]) if rows else ""

    def has_blob(self, digest: bytes) -> bool:
        return bool(self._read("SELECT 1 FROM blob WHERE digest = ?", digest))

    def attestation(self, digest: bytes) -> Attestation | None:
        rows = self._read("SELECT inode, length, ctime_ns FROM blob WHERE digest = ?", digest)
        if not rows:
            return None
        inode, size, ctime_ns = cast("tuple[int, int, int]", rows[0])
        return Attestation(inode=inode, size=size, ctime_ns=ctime_ns)

    def unchecked(
        self, until_ms: int, after: tuple[int, bytes], limit: int
    ) -> list[tuple[int, bytes, Attestation]]:
        """Return the next blobs checked at `until_ms` or before, the oldest check first.

        Raises: StoreError.
        """
        rows = self._read(
            "SELECT checked_at_ms, digest, inode, length, ctime_ns FROM blob"
            " WHERE checked_at_ms <= ? AND (checked_at_ms, digest) > (?, ?)"
            " ORDER BY checked_at_ms, digest LIMIT ?",
            until_ms, *after, limit,
        )  # fmt: skip
        typed = cast("list[tuple[int, bytes, int, int, int]]", rows)
        return [
            (row[0], row[1], Attestation(inode=row[2], size=row[3], ctime_ns=row[4]))
            for row in typed
        ]

    def oldest_check_ms(self) -> int | None:
        """Return when the blob checked longest ago was; None without blobs. Raises StoreError."""
        rows = self._read("SELECT min(checked_at_ms) FROM blob")
        return cast("int | None", rows[0][0])

    def newest_check_ms(self) -> int | None:
        rows = self._read("SELECT max(checked_at_ms) FROM blob")
        return cast("int | None", rows[0][0])

    def keys_of(self, digest: bytes) -> list[str]:
        """Return every key that names the blob."""
        rows = self._read("SELECT key FROM entry WHERE digest = ? AND status = 200", digest)
        return [cast("str", row[0]) for row in rows]

    def variant(self, stored: Stored) -> Stored | NoVariant:
        """Return `stored` in its coded form. Damage is none; the next change repairs it."""
        try:
            rows = self._read(VARIANT, stored.entry.digest, GZIP)
        except StoreError:
            return NoVariant.UNKNOWN
        return variant_of_row(rows[0], stored) if rows else NoVariant.UNKNOWN

    def keys_of_variant(self, blob: bytes) -> list[str]:
        """Return every key that names the blob of which `blob` is the coded form."""
        rows = self._read(
            "SELECT e.key FROM variant v JOIN entry e ON e.digest = v.digest"
            " WHERE v.blob = ? AND v.blob <> x'' AND e.status = 200",
            blob,
        )
        return [cast("str", row[0]) for row in rows]

    def require_sound(self, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Read every page, over a connection of its own: seconds in a large store.

        Returns early when `is_stopping`. Raises: DatabaseDamagedError, StoreError.
        """
        with database_errors(self._path):
            connection = connect_reader(self._path)
            try:
                connection.set_progress_handler(is_stopping, _STEPS_PER_ASK)
                verdict = connection.execute("PRAGMA quick_check(1)").fetchall()
            except apsw.InterruptError:
                return
            finally:
                connection.close(True)
        if verdict != [("ok",)]:
            raise DatabaseDamagedError(self._path, str(verdict))

    def blobs_after(self, digest: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Return the next digests, in their order, with the lengths of their blobs."""
        rows = self._read(
            "SELECT digest, length FROM blob WHERE digest > ? ORDER BY digest LIMIT ?",
            digest, limit,
        )  # fmt: skip
        return cast("list[tuple[bytes, int]]", rows)

    def blob_bytes(self) -> int:
        """Return the space that all blobs take; the rows that triggers keep (`schema`) are few."""
        rows = self._read("SELECT coalesce(sum(blobs), 0), coalesce(sum(blocks), 0) FROM class_use")
        blobs, blocks = cast("tuple[int, int]", rows[0])
        return blobs * BLOB_OVERHEAD_BYTES + blocks * BLOCK_BYTES

    def class_bytes(self) -> dict[int, int]:
        """Return what the blobs of each class take, as footprints. Raises StoreError."""
        rows = self._read("SELECT class, blobs, blocks FROM class_use")
        typed = cast("list[tuple[int, int, int]]", rows)
        return {row[0]: row[1] * BLOB_OVERHEAD_BYTES + row[2] * BLOCK_BYTES for row in typed}

    @contextlib.contextmanager
    def changing(self, *, durable: bool = False) -> Iterator[Changes]:
        """Open one write transaction; it commits when the block ends, else rolls back.

        Raises: DatabaseDamagedError, StoreError.
        """
        with self._write_lock, database_errors(self._path):
            if durable:
                self._writer.execute("PRAGMA synchronous = FULL").fetchall()
            try:
                with transaction(self._writer):
                    yield Changes(self._writer, self.policy)
            finally:
                if durable:
                    self._writer.execute("PRAGMA synchronous = NORMAL").fetchall()
            self._checkpoint_when_long()

    def close(self) -> None:
        """Close both connections; the last one checkpoints and removes the log."""
        with self._write_lock, self._read_lock:
            self._reader.close(True)
            self._writer.close(True)

    def __repr__(self) -> str:
        return f"<Index {self._path}, {self._log_pages} pages in its log>"

    def _read(self, statement: str, *values: str | int | bytes) -> list[tuple[object, ...]]:
        try:
            with self._read_lock, database_errors(self._path):
                return list(self._reader.execute(statement, values).fetchall())
        except DatabaseDamagedError:
            self.is_damaged = True
            raise

    def _packed(self, date: str) -> Sequence[Packed]:
        """What is known of a date, the manifest that was read last first."""
        with self._read_lock:
            known = self._dates.get(date)
            turn = self._dates.turn
        if known is not None:
            return known
        rows = self._read(
            "SELECT m.key, m.digest, m.proof, v.records FROM vouched v"
            " JOIN manifest m ON m.id = v.manifest WHERE v.date = ? ORDER BY m.id DESC",
            date,
        )
        typed = cast("Sequence[tuple[str, bytes, str, bytes]]", rows)
        known = [
            Packed(manifest_key=row[0], manifest_digest=row[1], proof=row[2], records=row[3])
            for row in typed
        ]
        with self._read_lock:
            self._dates.put(date, known, turn)
        return known

    def _statement(self, packed: Packed, digest: bytes) -> Statement:
        """Name the manifest as it is stored at the moment, signed and dated copies first."""
        rows = self._read(
            "SELECT key, proof FROM entry WHERE digest = ? AND status = 200 ORDER BY proof <> ?,"
            " key GLOB '*#*', key",
            packed.manifest_digest, SIGNED_GENERATION,
        )  # fmt: skip
        key, proof = (
            cast("tuple[str, str]", rows[0]) if rows else (packed.manifest_key, packed.proof)
        )
        return Statement(
            digest=digest,
            manifest_key=key,
            manifest_digest=packed.manifest_digest,
            proof=proof,
        )

    def _note_log_size(self, _: apsw.Connection, __: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint_when_long(self) -> None:
        if self._log_pages < _CHECKPOINT_PAGES:
            return
        # The commit is done; a checkpoint that cannot run (disk full) is tried after the next one.
        with contextlib.suppress(apsw.Error):
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._log_pages = 0


def _require_version(path: str, connection: apsw.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchall()
    if version != [(INDEX_VERSION,)]:
        raise DatabaseDamagedError(path, f"not an index of version {INDEX_VERSION}")
