"""The statements that change the index, all inside one transaction that `Index` opened.

Rules:
1. An entry of status 200 is written only over a blob row of its digest and length.
2. What a key named before is told to the caller, who decides about the epoch.
3. A blob that its last key let go of becomes the coldest (rank 0), not nothing: whoever holds it
   open, or gets it back from upstream, still finds it. A key that names it again undoes that.
4. A variant goes with its blob, or before: its row never outlives that of what it is a form of.

Units: `used_at_ms` Unix milliseconds.
Does not: touch files, commit, or decide.
Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import apsw

from mirror.store.budget import footprint
from mirror.store.classes import class_of_key
from mirror.store.entry import GZIP, Attestation, Entry
from mirror.store.eviction import BlobUse, EvictionPolicy
from mirror.store.pins import PinRange
from mirror.store.ranking import Ranking
from mirror.store.schema import (
    PIN_BLOB,
    UNATTESTED_INODE,
    UPSERT_ENTRY,
    entry_of_row,
    entry_row,
)
from mirror.store.unneeded import Unneeded, UnneededBlob


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What went with a blob; the files of `variants` are left to the caller."""

    freed_bytes: int
    keys: tuple[str, ...]
    variants: tuple[bytes, ...]


class Changes:
    """One open write transaction."""

    def __init__(self, connection: apsw.Connection, policy: EvictionPolicy) -> None:
        self._connection = connection
        self._ranking = Ranking(connection, policy)

    def put_blob(self, digest: bytes, attestation: Attestation, used_at_ms: int) -> int:
        """Write a blob's row; return by how many bytes the space that blobs take grows.

        What is attested was hashed just before: it is noted as checked at `used_at_ms`.
        """
        before = self.blob_length(digest)
        rank_ms, uses = used_at_ms, 0
        if before is None and attestation.inode != UNATTESTED_INODE:
            rank_ms, uses = self._ranking.place(digest, attestation.size, used_at_ms)
        checked_at_ms = 0 if attestation.inode == UNATTESTED_INODE else used_at_ms
        self._run(
            "INSERT INTO blob (digest, length, inode, ctime_ns, used_at_ms, checked_at_ms, rank_ms,"
            " uses) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET length = excluded.length, inode = excluded.inode,"
            " ctime_ns = excluded.ctime_ns, used_at_ms = max(used_at_ms, excluded.used_at_ms),"
            " checked_at_ms = max(checked_at_ms, excluded.checked_at_ms),"
            " rank_ms = max(rank_ms, excluded.rank_ms)",
            digest, attestation.size, attestation.inode, attestation.ctime_ns, used_at_ms,
            checked_at_ms, rank_ms, uses,
        )  # fmt: skip
        return footprint(attestation.size) - (0 if before is None else footprint(before))

    def put_unattested_blob(self, digest: bytes, length: int, used_at_ms: int) -> int:
        """Note that a file of this name is there, not what is in it."""
        unattested = Attestation(inode=UNATTESTED_INODE, size=length, ctime_ns=0)
        return self.put_blob(digest, unattested, used_at_ms)

    def checked(self, looked_at: Iterable[tuple[bytes, Attestation]], now_ms: int) -> None:
        """Note that these very files were hashed and found good."""
        self._connection.executemany(
            "UPDATE blob SET checked_at_ms = ? WHERE digest = ? AND inode = ? AND ctime_ns = ?",
            [(now_ms, digest, found.inode, found.ctime_ns) for digest, found in looked_at],
        )

    def forget_checks(self, after_ms: int) -> None:
        self._run("UPDATE blob SET checked_at_ms = 0 WHERE checked_at_ms > ?", after_ms)

    def blob_length(self, digest: bytes) -> int | None:
        rows = self._run("SELECT length FROM blob WHERE digest = ?", digest)
        return cast("int", rows[0][0]) if rows else None

    def attestation(self, digest: bytes) -> Attestation | None:
        rows = self._run("SELECT inode, length, ctime_ns FROM blob WHERE digest = ?", digest)
        if not rows:
            return None
        inode, size, ctime_ns = cast("tuple[int, int, int]", rows[0])
        return Attestation(inode=inode, size=size, ctime_ns=ctime_ns)

    def put_entry(self, entry: Entry) -> Entry | None:
        """Write `entry`; return what its key named before."""
        before = self.entry(entry.key)
        self._run(UPSERT_ENTRY, *entry_row(entry))
        if entry.status == 200 and (before is None or before.digest != entry.digest):
            self._belong(entry)
        if before is not None and before.digest != entry.digest:
            self._cool(before)
        return before

    def entry(self, key: str) -> Entry | None:
        rows = self._run("SELECT * FROM entry WHERE key = ?", key)
        return entry_of_row(rows[0]) if rows else None

    def remove_entry(self, key: str) -> Entry | None:
        before = self.entry(key)
        if before is not None:
            self._run("DELETE FROM entry WHERE key = ?", key)
            self._cool(before)
        return before

    def remove_blob(self, digest: bytes) -> Removed:
        """Drop a blob's row, every key naming it, and the variants that nothing else needs."""
        keys = [
            cast("str", row[0])
            for row in self._run("SELECT key FROM entry WHERE digest = ? AND status = 200", digest)
        ]
        self._run("DELETE FROM entry WHERE digest = ? AND status = 200", digest)
        variants = [
            cast("bytes", row[0])
            for row in self._run(
                "SELECT blob FROM variant WHERE digest = ? AND blob <> x'' AND NOT EXISTS"
                " (SELECT 1 FROM entry WHERE entry.digest = variant.blob AND status = 200)",
                digest,
            )
        ]
        self._run("DELETE FROM variant WHERE digest = ?", digest)
        self._run("DELETE FROM variant WHERE blob = ? AND blob <> x''", digest)
        freed_bytes = sum(self._drop_row(gone) for gone in (digest, *variants))
        return Removed(freed_bytes=freed_bytes, keys=tuple(keys), variants=tuple(variants))

    def _drop_row(self, digest: bytes) -> int:
        length = self.blob_length(digest)
        self._run("DELETE FROM blob WHERE digest = ?", digest)
        return 0 if length is None else footprint(length)

    def put_variant(self, digest: bytes, blob: bytes) -> bool:
        """Note in which blob `digest` is coded (b"": in none); False: `digest` is not stored."""
        if self.blob_length(digest) is None:
            return False
        self._run("INSERT OR REPLACE INTO variant VALUES (?, ?, ?)", digest, GZIP, blob)
        return True

    def touch(self, keys: Iterable[str], now_ms: int) -> None:
        self._ranking.use(keys, now_ms)

    def gone(self, victims: Sequence[BlobUse]) -> None:
        """Remember blobs that eviction removes in this transaction."""
        self._ranking.gone(victims)

    def bound_ranks(self, now_ms: int) -> None:
        """See `Ranking.bound`."""
        self._ranking.bound(now_ms)

    def let_go(self, digests: Iterable[bytes]) -> list[UnneededBlob]:
        """Return those that no key names any more."""
        unneeded = Unneeded(self._run)
        return [blob for digest in digests if (blob := unneeded.unnamed(digest)) is not None]

    def expect(self, digests: Iterable[bytes]) -> None:
        """Note that files of these names may appear before their rows do."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO arriving VALUES (?)", [(digest,) for digest in digests]
        )

    def arrived(self, digests: Iterable[bytes]) -> None:
        self._connection.executemany(
            "DELETE FROM arriving WHERE digest = ?", [(digest,) for digest in digests]
        )

    def arriving(self) -> list[bytes]:
        return [cast("bytes", row[0]) for row in self._run("SELECT digest FROM arriving")]

    def doom(self, digests: Iterable[bytes]) -> None:
        """Note that files of these names are to be removed after the commit."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO doomed VALUES (?)", [(digest,) for digest in digests]
        )

    def removed(self, digests: Iterable[bytes]) -> None:
        self._connection.executemany(
            "DELETE FROM doomed WHERE digest = ?", [(digest,) for digest in digests]
        )

    def doomed(self) -> list[bytes]:
        """Return the noted digests that no row names any more."""
        rows = self._run("SELECT digest FROM doomed WHERE digest NOT IN (SELECT digest FROM blob)")
        return [cast("bytes", row[0]) for row in rows]

    def clear_doomed(self) -> None:
        self._run("DELETE FROM doomed")

    def vouch(self, manifest: Entry, records: Mapping[str, bytes]) -> None:
        """Write what `manifest` states, packed by date, in the place of what was known of it.

        What manifests stated that are not stored any more under any key goes with it, so that the
        rows are never more than those of the stored manifests and this one.
        """
        gone = self._run(
            "SELECT id FROM manifest WHERE digest = ? OR NOT EXISTS"
            " (SELECT 1 FROM entry WHERE entry.digest = manifest.digest AND status = 200)",
            manifest.digest,
        )
        self._connection.executemany("DELETE FROM vouched WHERE manifest = ?", gone)
        self._connection.executemany("DELETE FROM manifest WHERE id = ?", gone)
        self._run(
            "INSERT INTO manifest (digest, key, proof) VALUES (?, ?, ?)",
            manifest.digest, manifest.key, manifest.proof,
        )  # fmt: skip
        number = self._connection.last_insert_rowid()
        self._connection.executemany(
            "INSERT INTO vouched VALUES (?, ?, ?)",
            [(date, number, packed) for date, packed in records.items()],
        )

    def forget_absences(self, before_at: float, limit: int) -> None:
        """Remove up to `limit` negative answers whose freshness ended before `before_at`."""
        self._run(
            "DELETE FROM entry WHERE key IN (SELECT key FROM entry WHERE status = 404"
            " AND fresh_until < ? ORDER BY fresh_until LIMIT ?)",
            before_at, limit,
        )  # fmt: skip

    def limit_absences(self, most: int) -> None:
        """Keep the `most` negative answers that end last."""
        self._run(
            "DELETE FROM entry WHERE key IN (SELECT key FROM entry WHERE status = 404"
            " ORDER BY fresh_until DESC LIMIT -1 OFFSET ?)",
            most,
        )

    def set_fact(self, name: str, value: str) -> None:
        self._run("INSERT OR REPLACE INTO fact VALUES (?, ?)", name, value)

    def coldest(self, after: BlobUse | None, limit: int, only: int | None = None) -> list[BlobUse]:
        """Return the next `limit` blobs that are not pinned (`only` of a class), by rank."""
        return self._ranking.coldest(after, limit, only)

    def _belong(self, entry: Entry) -> None:
        """Let the blob be of its key's class, if it is of none yet, and pinned as its key is; one
        that was let go is worth what its last use was."""
        self._run(
            "UPDATE blob SET class = CASE class WHEN 0 THEN ? ELSE class END,"
            " rank_ms = CASE rank_ms WHEN 0 THEN used_at_ms ELSE rank_ms END"
            " WHERE digest = ? AND (class = 0 OR rank_ms = 0)",
            class_of_key(entry.key), entry.digest,
        )  # fmt: skip
        self._run(
            "UPDATE blob SET rank_ms = used_at_ms WHERE rank_ms = 0"
            " AND digest IN (SELECT blob FROM variant WHERE digest = ?)",
            entry.digest,
        )
        self._run(PIN_BLOB, entry.digest)

    def pin(self, ranges: Sequence[PinRange]) -> None:
        """Let eviction leave alone what keys of these ranges name, and nothing else.

        Costs nothing while they are those in force, else a look at every blob.
        """
        if self._run("SELECT low, high FROM pin ORDER BY low, high") == list(ranges):
            return
        self._run("DELETE FROM pin")
        self._connection.executemany("INSERT OR IGNORE INTO pin VALUES (?, ?)", ranges)
        self._run("UPDATE blob SET pinned = 0 WHERE pinned <> 0")
        self._run(
            "UPDATE blob SET pinned = 1 WHERE digest IN (SELECT e.digest FROM pin"
            " JOIN entry e ON e.key >= pin.low AND e.key < pin.high AND e.status = 200)"
        )

    def _cool(self, before: Entry) -> None:
        """Make the blob that `before` named the coldest when no key names it any more, and its
        variant with it."""
        if before.status == 200:
            self._run(
                "UPDATE blob SET rank_ms = 0 WHERE digest IN"
                " (SELECT ?1 UNION ALL SELECT blob FROM variant WHERE digest = ?1)"
                " AND NOT EXISTS (SELECT 1 FROM entry WHERE digest = ?1 AND status = 200)"
                " AND NOT EXISTS"
                " (SELECT 1 FROM entry WHERE entry.digest = blob.digest AND status = 200)",
                before.digest,
            )
            self._run(PIN_BLOB, before.digest)

    def _run(self, statement: str, *values: str | int | float | bytes) -> list[tuple[object, ...]]:
        return list(self._connection.execute(statement, values).fetchall())
