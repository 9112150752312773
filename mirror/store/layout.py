"""Where things lie in the store directory: every path comes from a digest or a constant.

    format  lock  index.db  index.db-wal  index.db-shm
    blobs/ab/cd/<64 hex>          content, named by its sha256
    partial/<64 hex>[.json]       temps of flights and the record beside each
    heads/ab/<64 hex>.json        sha256 of the key: what the index knew about it
    quarantine/<ms>-<hex>[.json]  bytes that disagreed, and why

Rules:
1. No part of a key, URL or client's text is ever part of a path.
2. `key_digest` separates its parts, so that no two different tuples share a name.

Does not: touch the file system.
Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

FORMAT = "rust-mirror store 1\n"
RECORD_SUFFIX = ".json"
_HEX = frozenset("0123456789abcdef")


def blob_path(store_path: str, digest: bytes) -> str:
    """Return where the blob of `digest` lies once published."""
    name = digest.hex()
    return f"{store_path}/blobs/{name[:2]}/{name[2:4]}/{name}"


def index_path(store_path: str) -> str:
    return f"{store_path}/index.db"


def key_digest(*parts: bytes) -> str:
    """Return a file name for a tuple of byte strings."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.hexdigest()


def digest_of_name(name: str) -> bytes | None:
    """Return the digest that a blob's file name states; None for a stray file."""
    if len(name) != 64 or not _HEX.issuperset(name):
        return None
    return bytes.fromhex(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The paths of one store."""

    root: str

    @property
    def format(self) -> str:
        return f"{self.root}/format"

    @property
    def lock(self) -> str:
        return f"{self.root}/lock"

    @property
    def index(self) -> str:
        return index_path(self.root)

    @property
    def blobs(self) -> str:
        return f"{self.root}/blobs"

    @property
    def partials(self) -> str:
        return f"{self.root}/partial"

    @property
    def heads(self) -> str:
        return f"{self.root}/heads"

    @property
    def quarantine(self) -> str:
        return f"{self.root}/quarantine"

    def blob(self, digest: bytes) -> str:
        return blob_path(self.root, digest)

    def partial(self, name: str) -> str:
        return f"{self.partials}/{name}"

    def head_directory(self, key: str) -> str:
        return f"{self.heads}/{key_digest(key.encode())[:2]}"

    def head(self, key: str) -> str:
        name = key_digest(key.encode())
        return f"{self.heads}/{name[:2]}/{name}{RECORD_SUFFIX}"
