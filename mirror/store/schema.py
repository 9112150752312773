"""The tables of the metadata index, and how a row becomes a value.

Rules:
1. `user_version` is `INDEX_VERSION`; another one means: throw the index away and rescan.
2. A 200 entry without a blob row is no stored response.
3. A blob row with inode 0 is not attested: the file is there, nobody has hashed it yet.
4. `manifest` names the manifests that were read, by their own digests, also those that stated
   nothing: under which keys they are stored is asked of `entry`. `vouched.records` is what the
   manifest states about the files of one date (`knowledge`).
5. `class_use` is what the blobs of each class take, kept by triggers: what writes a row counts.
   `pin` holds the key ranges, half-open, that eviction leaves alone; `blob.pinned` follows it.
6. `variant` says in which blob the coded form of a blob's content is; b"": coding does not pay. It
   is a function of the content, so no key, time or proof is in it, and a lost row is made again.
7. `rank_ms` is the order of eviction, `ghost` what is remembered of victims (`ranking`).

Units: times that end in `_ms` are Unix milliseconds, the others Unix seconds.
Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from mirror.store.entry import Attestation, Entry, NoVariant, Stored

INDEX_VERSION = 8
UNATTESTED_INODE = 0

TABLES = """
CREATE TABLE blob (
    digest BLOB PRIMARY KEY, length INTEGER NOT NULL,
    inode INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL, rank_ms INTEGER NOT NULL DEFAULT 0,
    pinned INTEGER NOT NULL DEFAULT 0,
    class INTEGER NOT NULL DEFAULT 0, uses INTEGER NOT NULL DEFAULT 0,
    checked_at_ms INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX blob_by_check ON blob (checked_at_ms, digest);
CREATE INDEX blob_by_rank ON blob (class, rank_ms, digest);
CREATE TABLE ghost (
    id INTEGER PRIMARY KEY, digest BLOB UNIQUE NOT NULL, rank_ms INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL, is_on_probation INTEGER NOT NULL
);
CREATE TABLE entry (
    key TEXT PRIMARY KEY, status INTEGER NOT NULL, digest BLOB NOT NULL, length INTEGER NOT NULL,
    media_type TEXT NOT NULL, last_modified INTEGER NOT NULL,
    upstream_etag TEXT NOT NULL, upstream_last_modified TEXT NOT NULL,
    fetched_at REAL NOT NULL, confirmed_at REAL NOT NULL, fresh_until REAL NOT NULL,
    proof TEXT NOT NULL, voucher TEXT NOT NULL, verified_at REAL NOT NULL,
    upstream_version TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX entry_by_digest ON entry (digest) WHERE status = 200;
CREATE INDEX generation_by_proof ON entry (proof, key)
    WHERE status = 200 AND proof GLOB '*generation';
CREATE INDEX absence_by_end ON entry (fresh_until) WHERE status = 404;
CREATE TABLE variant (
    digest BLOB NOT NULL, coding TEXT NOT NULL, blob BLOB NOT NULL, PRIMARY KEY (digest, coding)
) WITHOUT ROWID;
CREATE INDEX variant_by_blob ON variant (blob) WHERE blob <> x'';
CREATE TABLE manifest (
    id INTEGER PRIMARY KEY, digest BLOB UNIQUE NOT NULL, key TEXT NOT NULL, proof TEXT NOT NULL
);
CREATE TABLE vouched (
    date TEXT NOT NULL, manifest INTEGER NOT NULL, records BLOB NOT NULL,
    PRIMARY KEY (date, manifest)
);
CREATE INDEX vouched_by_manifest ON vouched (manifest);
CREATE TABLE arriving (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE doomed (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE pin (low TEXT NOT NULL, high TEXT NOT NULL, PRIMARY KEY (low, high)) WITHOUT ROWID;
CREATE TABLE class_use (
    class INTEGER PRIMARY KEY, blobs INTEGER NOT NULL, blocks INTEGER NOT NULL
);
CREATE TRIGGER blob_came AFTER INSERT ON blob BEGIN
    INSERT INTO class_use VALUES (new.class, 1, (new.length + 4095) / 4096)
    ON CONFLICT (class) DO UPDATE SET blobs = blobs + 1, blocks = blocks + excluded.blocks;
END;
CREATE TRIGGER blob_went AFTER DELETE ON blob BEGIN
    UPDATE class_use SET blobs = blobs - 1, blocks = blocks - (old.length + 4095) / 4096
    WHERE class = old.class;
END;
CREATE TRIGGER blob_moved AFTER UPDATE OF class, length ON blob
WHEN old.class <> new.class OR old.length <> new.length BEGIN
    UPDATE class_use SET blobs = blobs - 1, blocks = blocks - (old.length + 4095) / 4096
    WHERE class = old.class;
    INSERT INTO class_use VALUES (new.class, 1, (new.length + 4095) / 4096)
    ON CONFLICT (class) DO UPDATE SET blobs = blobs + 1, blocks = blocks + excluded.blocks;
END;
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_COLUMNS = (
    "e.key, e.status, e.digest, e.length, e.media_type, e.last_modified, e.upstream_etag,"
    " e.upstream_last_modified, e.fetched_at, e.confirmed_at, e.fresh_until, e.proof,"
    " e.voucher, e.verified_at, e.upstream_version"
)
LOOKUP = (
    f"SELECT {_COLUMNS}, b.length, b.inode, b.ctime_ns"  # noqa: S608 - a constant of this file
    " FROM entry e LEFT JOIN blob b ON b.digest = e.digest WHERE e.key = ?"
)
ENTRIES_OF_RANGE = (
    f"SELECT {_COLUMNS} FROM entry e"  # noqa: S608 - a constant of this file
    " WHERE e.key >= ? AND e.key < ? AND e.status = 200 ORDER BY e.key"
)
ENTRIES_OF_PROOF = (
    f"SELECT {_COLUMNS} FROM entry e"  # noqa: S608 - a constant of this file
    " WHERE e.proof = ? AND e.status = 200 ORDER BY e.key"
)
# Few among many: each start asks for them, and an index of all proofs would cost every entry 80
# bytes. SQLite uses the partial one where its condition stands in the query word by word.
ENTRIES_OF_GENERATIONS = (
    f"SELECT {_COLUMNS} FROM entry e"  # noqa: S608 - a constant of this file
    " WHERE e.proof = ? AND e.status = 200 AND e.proof GLOB '*generation' ORDER BY e.key"
)
VARIANT = (
    "SELECT v.blob, b.length, b.inode, b.ctime_ns FROM variant v"
    " LEFT JOIN blob b ON b.digest = v.blob WHERE v.digest = ? AND v.coding = ?"
)
UPSERT_ENTRY = "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

# Nothing to do, and nothing looked up, without pins.
PIN_BLOB = (
    "UPDATE blob SET pinned = EXISTS (SELECT 1 FROM entry e JOIN pin ON e.key >= pin.low"
    " AND e.key < pin.high WHERE e.digest = blob.digest AND e.status = 200)"
    " WHERE digest = ? AND EXISTS (SELECT 1 FROM pin)"
)

Row = tuple[object, ...]


def entry_row(entry: Entry) -> tuple[str | int | float | bytes, ...]:
    """Return the values of `entry` in the order of its table."""
    return (
        entry.key, entry.status, entry.digest, entry.length, entry.media_type,
        entry.last_modified, entry.upstream_etag, entry.upstream_last_modified,
        entry.fetched_at, entry.confirmed_at, entry.fresh_until, entry.proof,
        entry.voucher, entry.verified_at, entry.upstream_version,
    )  # fmt: skip


def entry_of_row(row: Row) -> Entry:
    """Return the entry that the first fifteen columns hold."""
    typed = cast(
        "tuple[str, int, bytes, int, str, int, str, str, float, float, float, str, str, float,"
        " str]",
        row[:15],
    )
    return Entry(
        key=typed[0], status=typed[1], digest=typed[2], length=typed[3], media_type=typed[4],
        last_modified=typed[5], upstream_etag=typed[6], upstream_last_modified=typed[7],
        fetched_at=typed[8], confirmed_at=typed[9], fresh_until=typed[10], proof=typed[11],
        voucher=typed[12], verified_at=typed[13], upstream_version=typed[14],
    )  # fmt: skip


def stored_of_row(row: Row) -> Stored | None:
    """Return what a row of `LOOKUP` means; None when its blob is gone."""
    if row[1] != 200:
        return Stored(entry=entry_of_row(row), attestation=None)
    size, inode, ctime_ns = cast("tuple[int | None, int | None, int | None]", row[15:18])
    if size is None or inode is None or ctime_ns is None:
        return None
    return Stored(
        entry=entry_of_row(row),
        attestation=Attestation(inode=inode, size=size, ctime_ns=ctime_ns),
    )


def variant_of_row(row: Row, stored: Stored) -> Stored | NoVariant:
    """Return `stored` in the coding that a row of `VARIANT` is about."""
    digest, size, inode, ctime_ns = cast("tuple[bytes, int | None, int, int]", row)
    if not digest:
        return NoVariant.POINTLESS
    if size is None:
        return NoVariant.UNKNOWN
    return Stored(
        entry=replace(stored.entry, digest=digest, length=size),
        attestation=Attestation(inode=inode, size=size, ctime_ns=ctime_ns),
    )


def prefix_end(prefix: str) -> str:
    """Return the least string above every string that begins with `prefix`.

    Keys are ASCII (the grammar refuses the rest), so one character beyond it is enough.
    """
    return prefix + "\x80"
