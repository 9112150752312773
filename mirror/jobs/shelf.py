"""Stored objects as this room reads them: by key, whole, and checked against their digest.

Rules:
1. No content leaves here that does not hash to the digest under which it is stored.

Units: bytes.
Runs in: commands and keeper (jobs); one thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mirror.errors import StoreError, VerificationError
from mirror.store.blob_reading import read_pieces
from mirror.store.entry import Stored
from mirror.store.inspection import Inspection
from mirror.store.layout import Layout, blob_path, index_path

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
    """Open a store for reading. Raises StoreError when there is none, or not for this user."""
    _check_readable(store_path)
    inspection = Inspection(store_path)
    try:
        yield Shelf(inspection, store_path)
    finally:
        inspection.close()


def _check_readable(store_path: str) -> None:
    """Without this, every object of somebody else's store would seem damaged."""
    blobs = Layout(root=store_path).blobs
    for path, mode in (
        (store_path, os.R_OK | os.X_OK),
        (index_path(store_path), os.R_OK),
        (blobs, os.R_OK | os.X_OK),
    ):
        try:
            os.stat(path)
            is_readable = os.access(path, mode)
        except PermissionError:
            is_readable = False
        except OSError:
            continue  # who opens it says what is missing
        if not is_readable:
            hint = "run it as root or as the mirror's user"
            raise StoreError(path, "may not be read by this user", hint=hint, retryable=False)


def _damaged(stored: Stored, got: str) -> DamagedError:
    entry = stored.entry
    return DamagedError(entry.key, expected=f"content of sha256 {entry.digest.hex()}", got=got)
