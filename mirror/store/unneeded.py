"""Questions to the index about what may be taken away: keys by prefix, blobs that were let go.

Rules:
1. A blob was let go when its last key was (`Changes`: its rank is 0). One that no key has named yet
   is none: after a lost index the crates and archives that a rescan found are like that until they
   are asked for, and would have to be fetched again.
2. A coded form is needed as long as a key names its content.
3. What is asked costs as much as what is found, not as what is stored: look-ups wait meanwhile.
4. Pages go from key to key and digest to digest: memory does not grow with the store.

Units: bytes as footprints; Unix seconds.
Does not: change anything.
Runs in: keeper and commands (the store's owner).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from mirror.store.budget import footprint
from mirror.store.classes import CLASSES
from mirror.store.schema import prefix_end

_LET_GO = (
    "SELECT b.digest, b.length FROM blob b WHERE b.rank_ms = 0 AND {which}"
    " AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.digest = b.digest AND e.status = 200)"
    " AND NOT EXISTS (SELECT 1 FROM variant v JOIN entry e ON e.digest = v.digest"
    " WHERE v.blob = b.digest AND v.blob <> x'' AND e.status = 200)"
)
_LET_GO_ONE = _LET_GO.format(which="b.digest = ?1")
_PAGE_OF_CLASS = _LET_GO.format(which="b.class = {} AND b.digest > ?1") + " ORDER BY 1 LIMIT ?2"
# Along the index of ranks, which begins with the class (rule 3).
_EACH_CLASS = [
    f"SELECT * FROM ({_PAGE_OF_CLASS.format(number)})"  # noqa: S608 - constants
    for number in CLASSES
]
_LET_GO_PAGE = " UNION ALL ".join(_EACH_CLASS) + " ORDER BY 1 LIMIT ?2"

Read = Callable[..., list[tuple[object, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnneededBlob:
    """A stored blob that no key names any more."""

    digest: bytes
    freed_bytes: int


class Unneeded:
    """Asks through `read`, which runs one statement. Every method raises StoreError."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def digest_named(self, key: str) -> bytes | None:
        """Return what `key` names: a digest, b"" for an absence; None: it has no entry."""
        rows = self._read("SELECT digest, status FROM entry WHERE key = ?", key)
        if not rows:
            return None
        digest, status = cast("tuple[bytes, int]", rows[0])
        return digest if status == 200 else b""

    def keys_of_prefix(self, prefix: str, after: str, limit: int) -> list[str]:
        rows = self._read(
            "SELECT key FROM entry WHERE key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
            after, prefix, prefix_end(prefix), limit,
        )  # fmt: skip
        return [cast("str", row[0]) for row in rows]

    def length_of(self, digest: bytes) -> int | None:
        rows = self._read("SELECT length FROM blob WHERE digest = ?", digest)
        return cast("int", rows[0][0]) if rows else None

    def forms_of(self, digest: bytes) -> list[bytes]:
        """Return the digests of the coded forms of a content."""
        rows = self._read("SELECT blob FROM variant WHERE digest = ? AND blob <> x''", digest)
        return [cast("bytes", row[0]) for row in rows]

    def unnamed(self, digest: bytes) -> UnneededBlob | None:
        """Return the blob if it is stored and was let go."""
        rows = self._read(_LET_GO_ONE, digest)
        return _blob(rows[0]) if rows else None

    def unnamed_after(self, digest: bytes, limit: int) -> list[UnneededBlob]:
        """Return the next blobs that were let go, by digest."""
        return [_blob(row) for row in self._read(_LET_GO_PAGE, digest, limit)]

    def ended_absences(self, before_at: float, limit: int) -> list[str]:
        """Return keys remembered as absent whose freshness ended before `before_at`."""
        rows = self._read(
            "SELECT key FROM entry WHERE status = 404 AND fresh_until < ?"
            " ORDER BY fresh_until LIMIT ?",
            before_at, limit,
        )  # fmt: skip
        return [cast("str", row[0]) for row in rows]

    def count_ended_absences(self, before_at: float) -> int:
        rows = self._read(
            "SELECT count(*) FROM entry WHERE status = 404 AND fresh_until < ?", before_at
        )
        return cast("int", rows[0][0])


def _blob(row: tuple[object, ...]) -> UnneededBlob:
    digest, length = cast("tuple[bytes, int]", row)
    return UnneededBlob(digest=digest, freed_bytes=footprint(length))
