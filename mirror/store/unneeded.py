"""Questions to the index about what may be taken away: keys by prefix, blobs that no key names.

Rules:
1. A coded form is needed as long as a key names its content.
2. Pages go from key to key and digest to digest: memory does not grow with the store.

Units: bytes as footprints; Unix seconds.
Does not: change anything.
Runs in: keeper and commands (the store's owner).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from mirror.store.budget import footprint
from mirror.store.schema import prefix_end

_UNNAMED = (
    "SELECT b.digest, b.length FROM blob b WHERE {which}"
    " AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.digest = b.digest AND e.status = 200)"
    " AND NOT EXISTS (SELECT 1 FROM variant v JOIN entry e ON e.digest = v.digest"
    " WHERE v.blob = b.digest AND v.blob <> x'' AND e.status = 200)"
)
_UNNAMED_ONE = _UNNAMED.format(which="b.digest = ?")
_UNNAMED_PAGE = _UNNAMED.format(which="b.digest > ?") + " ORDER BY b.digest LIMIT ?"

Read = Callable[..., list[tuple[object, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnneededBlob:
    """A stored blob that no key names."""

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
        """Return the blob if it is stored and not needed."""
        rows = self._read(_UNNAMED_ONE, digest)
        return _blob(rows[0]) if rows else None

    def unnamed_after(self, digest: bytes, limit: int) -> list[UnneededBlob]:
        """Return the next blobs that are not needed, by digest."""
        return [_blob(row) for row in self._read(_UNNAMED_PAGE, digest, limit)]

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
