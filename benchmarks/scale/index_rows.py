"""Makes a store whose index names a million objects, of which a few have files.

Rules:
1. The objects with files are made by `restart_store`, by the store's own code. The other rows are
   written straight into the tables, in the order of their trees: a million in seconds.
2. Rows are as wide as real ones: crates with the digest of an index line, validators, dates.
3. Nobody asks for a row without a file but a look-up, which opens none.

Units: bytes, Unix seconds. Runs in: benchmark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import apsw

from benchmarks.restart_store import make_store
from mirror.store.classes import class_of_key
from mirror.store.entry import Entry
from mirror.store.layout import index_path
from mirror.store.schema import UPSERT_ENTRY, entry_row

WITH_FILES = 1000  # in every store, so that what is served is the same
BUDGET = "64GiB"
_NOW = 1_800_000_000.0
_LAST_MODIFIED = "Fri, 15 Jan 2027 08:00:00 GMT"
_CACHE_KIB = 262_144  # of the connection that writes; random digests would thrash a small one
_FIRST_INODE = 1 << 40
_GOLDEN = 0x9E3779B97F4A7C15  # odd, so that names differ; spreads them over the tree
_BLOB = (
    "INSERT INTO blob (digest, length, inode, ctime_ns, used_at_ms, rank_ms, class)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)


def key_of_row(number: int) -> str:
    """Return the key of a row without a file: names as long as those of crates.io."""
    name = f"b{number * _GOLDEN & (1 << 48) - 1:012x}"
    return f"crates:/crates/{name}/{name}-1.{number % 100}.{number}.crate"


def make_index(folder: Path, count: int) -> None:
    """Make `<folder>/store` and `<folder>/state`, with `count` objects in the index."""
    if count < WITH_FILES:
        raise ValueError(f"at least {WITH_FILES} objects")
    folder.mkdir()
    store = str(folder / "store")
    make_store(store, str(folder / "state"), WITH_FILES, BUDGET)
    connection = apsw.Connection(index_path(store))
    try:
        connection.execute(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            f" PRAGMA cache_size = -{_CACHE_KIB}"
        ).fetchall()
        rows = sorted((_digest(number), number) for number in range(WITH_FILES, count))
        with connection:
            connection.executemany(_BLOB, (_blob_row(digest, number) for digest, number in rows))
            connection.executemany(UPSERT_ENTRY, _entry_rows(count))
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    finally:
        connection.close()


def _digest(number: int) -> bytes:
    return hashlib.sha256(b"row %d" % number).digest()


def _blob_row(digest: bytes, number: int) -> tuple[bytes, int, int, int, int, int, int]:
    used_at_ms = int(_NOW * 1000) - number
    kind = class_of_key(key_of_row(number))
    return digest, _length(number), _FIRST_INODE + number, 0, used_at_ms, used_at_ms, kind


def _entry_rows(count: int) -> Iterator[tuple[str | int | float | bytes, ...]]:
    for number in sorted(range(WITH_FILES, count), key=key_of_row):
        entry = Entry(
            key=key_of_row(number), status=200, digest=_digest(number), length=_length(number),
            media_type="application/gzip", last_modified=int(_NOW) - number,
            upstream_etag=f'"{number:032x}"', upstream_last_modified=_LAST_MODIFIED,
            fetched_at=_NOW, confirmed_at=_NOW, fresh_until=_NOW + 1e9, proof="index",
            voucher=f"index:/be/nc/{number:012x}", verified_at=_NOW, upstream_version="",
        )  # fmt: skip
        yield entry_row(entry)


def _length(number: int) -> int:
    return 20_000 + number % 80_000
