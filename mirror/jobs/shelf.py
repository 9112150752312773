"""Stored objects as this room reads them: by key, whole, and checked against their digest.

Rules:
1. No content leaves here that does not hash to the digest under which it is stored.

Units: bytes.
Runs in: commands and keeper (jobs); one thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from mirror.errors import VerificationError
from mirror.jobs.file_reading import read_pieces
from mirror.store.entry import Stored
from mirror.store.inspection import Inspection
from mirror.store.layout import blob_path

SMALL_BYTES = 32 << 20  # manifests, index files and proofs have at most 8 MiB


class DamagedError(VerificationError):
    """A stored file is not what its name says, or cannot be read."""


class Shelf:
    """The objects of one store."""

    def __init__(self, inspection: Inspection, store_path: str) -> None:
        self.index = inspection
        self._store_path = store_path

    def lookup(self, key: str) -> Stored | None:
        """Return the stored response of `key` if it has content. Raises StoreError."""
        stored = self.index.lookup(key)
        return stored if stored is not None and stored.entry.status == 200 else None

    def path(self, digest: bytes) -> str:
        return blob_path(self._store_path, digest)

    def pieces(self, stored: Stored) -> Iterator[bytes]:
        """Yield the content, unchecked. Raises DamagedError when it cannot be read."""
        try:
            yield from read_pieces(self.path(stored.entry.digest))
        except OSError as exc:
            raise _damaged(stored, exc.strerror or "unreadable") from exc

    def content(self, stored: Stored) -> bytes:
        """Return a small object. Raises DamagedError when its bytes are other ones."""
        if stored.entry.length > SMALL_BYTES:
            raise _damaged(stored, f"{stored.entry.length} bytes")
        found = b"".join(self.pieces(stored))
        digest = hashlib.sha256(found).digest()
        if digest != stored.entry.digest:
            raise _damaged(stored, digest.hex())
        return found


@contextmanager
def open_shelf(store_path: str) -> Iterator[Shelf]:
    """Open a store for reading. Raises StoreError when there is none."""
    inspection = Inspection(store_path)
    try:
        yield Shelf(inspection, store_path)
    finally:
        inspection.close()


def _damaged(stored: Stored, got: str) -> DamagedError:
    entry = stored.entry
    return DamagedError(entry.key, expected=f"content of sha256 {entry.digest.hex()}", got=got)
