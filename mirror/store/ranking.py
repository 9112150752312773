"""The ranks of blobs in the index, and what eviction remembers: statements of one transaction.

Rules:
1. Ranks, ghosts and what the policy knows (`Standing`) are in the index and nowhere else: a
   restart loses nothing, a lost index all of it (then blobs rank by the age of their files).
2. The first use after an arrival is the request that brought it: it moves the rank to its own
   time, and is no use by others yet.
3. A blob of rank 0 is one that no key names any more, and goes first; nothing is remembered of it.
4. Ranks of a clock that was ahead do not last: each eviction brings back to the present the floor
   and, of each class, up to `BOUND_ROWS` blobs that are said to be used in the future, from the
   highest rank on. Ranks that frequent use gives too (`latest_rank_ms`) are left: they stay for a
   few spans of the store.
5. Of ghosts there are as many as `GHOSTS_PER_BLOB` times the blobs, the latest evicted, and no more
   than `GHOSTS_MAX`.

Cost: an arrival two or three look-ups, a use one look-up and one row, a victim one row; nothing
grows with the number of blobs.

Units: bytes, as footprints; Unix milliseconds.
Does not: decide (the policy does), commit.
Runs in: keeper.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import apsw

from mirror.store.budget import BLOB_OVERHEAD_BYTES, BLOCK_BYTES, footprint
from mirror.store.classes import CLASSES
from mirror.store.eviction import (
    ONE_USE_MS,
    Arrival,
    BlobUse,
    EvictionPolicy,
    Ghost,
    Standing,
    latest_rank_ms,
)
from mirror.store.ranks_in_memory import GHOSTS_MIN, GHOSTS_PER_BLOB

GHOSTS_MAX = 262_144  # about 30 MB of the index
BOUND_ROWS = 128  # some 2 ms for all classes, and microseconds where no clock was wrong
_FACT = "eviction"
_COLDEST_OF_CLASS = (
    "SELECT digest, length, rank_ms, uses, used_at_ms FROM blob WHERE class = {} AND pinned = 0"
    " AND (rank_ms, digest) > (?1, ?2) ORDER BY rank_ms, digest LIMIT ?3"
)
# One index serves classes and the whole: the coldest of each class, merged.
_EACH_CLASS = [
    f"SELECT * FROM ({_COLDEST_OF_CLASS.format(number)})"  # noqa: S608 - constants
    for number in CLASSES
]
_COLDEST = " UNION ALL ".join(_EACH_CLASS) + " ORDER BY rank_ms, digest LIMIT ?3"
_LOWEST = " UNION ALL ".join(
    f"SELECT min(rank_ms) FROM blob WHERE class = {number} AND rank_ms > 0"  # noqa: S608
    for number in CLASSES
)
_BEYOND = " UNION ALL ".join(
    "SELECT * FROM (SELECT digest, used_at_ms FROM blob"  # noqa: S608
    f" WHERE class = {number} AND rank_ms > ?1 ORDER BY rank_ms DESC LIMIT ?3)"
    for number in CLASSES
)
_USED_BY_OTHERS = 2  # from so many uses on a blob is on probation no more


class Ranking:
    """Over one open write transaction."""

    def __init__(self, connection: apsw.Connection, policy: EvictionPolicy) -> None:
        self._connection = connection
        self._policy = policy

    def place(self, digest: bytes, length: int, now_ms: int) -> tuple[int, int]:
        """Return the rank, and the uses that count already, of a blob that arrives."""
        standing = self._standing()
        ghost = self._take_ghost(digest)
        arrival = Arrival(
            now_ms=now_ms,
            store_part=0.0 if ghost is None else footprint(length) / self._stored_bytes(),
            ghost=ghost,
        )
        placed = self._policy.place(standing, arrival)
        self._know(standing, placed.standing)
        return placed.rank_ms, 0 if ghost is None else _USED_BY_OTHERS

    def use(self, keys: Iterable[str], now_ms: int) -> None:
        """Note that what `keys` name, and its coded forms, were used."""
        standing = self._standing()
        for key in keys:
            for row in self._run(
                "SELECT digest, rank_ms, uses, used_at_ms FROM blob WHERE digest IN"
                " (SELECT digest FROM entry WHERE key = ?1 AND status = 200 UNION ALL"
                " SELECT v.blob FROM entry e JOIN variant v ON v.digest = e.digest"
                " WHERE e.key = ?1 AND e.status = 200) AND (uses = 0 OR used_at_ms <= ?2)",
                key, now_ms - ONE_USE_MS,
            ):  # fmt: skip
                digest, rank_ms, uses, used_at_ms = cast("tuple[bytes, int, int, int]", row)
                if uses or not rank_ms:
                    ranked_ms = self._policy.rank_of_use(standing, rank_ms, now_ms)
                else:
                    ranked_ms = rank_ms + max(0, now_ms - used_at_ms)  # rule 2
                self._run(
                    "UPDATE blob SET rank_ms = ?, uses = uses + 1, used_at_ms = ?"
                    " WHERE digest = ?",
                    ranked_ms, now_ms, digest,
                )  # fmt: skip

    def coldest(self, after: BlobUse | None, limit: int, only: int | None) -> list[BlobUse]:
        """Return the next `limit` blobs that are not pinned (`only` of a class), by rank."""
        at_ms, digest = (after.rank_ms, after.digest) if after else (-1, b"")
        if only is None:
            rows = self._run(_COLDEST, at_ms, digest, limit)
        else:
            rows = self._run(_COLDEST_OF_CLASS.format("?4"), at_ms, digest, limit, only)
        typed = cast("Sequence[tuple[bytes, int, int, int, int]]", rows)
        return [
            BlobUse(
                digest=row[0], freed_bytes=footprint(row[1]), rank_ms=row[2],
                used_at_ms=row[4], is_on_probation=row[3] < _USED_BY_OTHERS,
            )
            for row in typed
        ]  # fmt: skip

    def bound(self, now_ms: int) -> None:
        """Rank some blobs anew that a clock that was ahead has ranked (rule 4); mostly none."""
        standing = self._standing()
        if standing.floor_ms > now_ms:
            lowest = [row[0] for row in self._run(_LOWEST) if row[0] is not None]
            floor_ms = min(cast("list[int]", lowest), default=now_ms)
            bounded = replace(standing, floor_ms=max(0, min(floor_ms, now_ms) - 1))
            self._know(standing, bounded)
            standing = bounded
        self._run(
            "UPDATE blob SET rank_ms = ?2, used_at_ms = min(used_at_ms, ?2)"  # noqa: S608
            f" WHERE digest IN (SELECT digest FROM ({_BEYOND}) WHERE used_at_ms > ?2)",
            latest_rank_ms(standing, now_ms), now_ms, BOUND_ROWS,
        )  # fmt: skip

    def gone(self, victims: Sequence[BlobUse]) -> None:
        """Remember victims, which the same transaction removes."""
        ranked = [victim for victim in victims if victim.rank_ms > 0]
        if not ranked:
            return
        standing = self._standing()
        highest_ms = max(victim.rank_ms for victim in ranked)
        self._know(standing, self._policy.after_eviction(standing, highest_ms))
        self._connection.executemany(
            "INSERT OR REPLACE INTO ghost (digest, rank_ms, used_at_ms, is_on_probation)"
            " VALUES (?, ?, ?, ?)",
            [(v.digest, v.rank_ms, v.used_at_ms, v.is_on_probation) for v in ranked],
        )
        blobs, _ = self._taken()
        most = min(GHOSTS_MAX, max(GHOSTS_MIN, GHOSTS_PER_BLOB * blobs))
        # Numbers are given in order, and what came back leaves a gap: at most so many are left.
        self._run("DELETE FROM ghost WHERE id <= ?", self._connection.last_insert_rowid() - most)

    def _take_ghost(self, digest: bytes) -> Ghost | None:
        rows = self._run(
            "DELETE FROM ghost WHERE digest = ? RETURNING rank_ms, used_at_ms, is_on_probation",
            digest,
        )
        if not rows:
            return None
        rank_ms, used_at_ms, is_on_probation = cast("tuple[int, int, int]", rows[0])
        return Ghost(rank_ms=rank_ms, used_at_ms=used_at_ms, is_on_probation=bool(is_on_probation))

    def _standing(self) -> Standing:
        rows = self._run("SELECT value FROM fact WHERE name = ?", _FACT)
        if not rows:
            return Standing()
        floor_ms, probation = json.loads(cast("str", rows[0][0]))
        return Standing(floor_ms=floor_ms, probation=probation)

    def _know(self, before: Standing, standing: Standing) -> None:
        if standing != before:
            value = json.dumps([standing.floor_ms, standing.probation])
            self._run("INSERT OR REPLACE INTO fact VALUES (?, ?)", _FACT, value)

    def _stored_bytes(self) -> int:
        blobs, blocks = self._taken()
        return max(1, blobs * BLOB_OVERHEAD_BYTES + blocks * BLOCK_BYTES)

    def _taken(self) -> tuple[int, int]:
        rows = self._run("SELECT coalesce(sum(blobs), 0), coalesce(sum(blocks), 0) FROM class_use")
        return cast("tuple[int, int]", rows[0])

    def _run(self, statement: str, *values: str | int | float | bytes) -> list[tuple[object, ...]]:
        return list(self._connection.execute(statement, values).fetchall())
