"""Makes a store of many tiny objects quickly: what a mirror that ran for long would have.

Rules:
1. Files, rows and records are those that the store itself would have written, by its own code; only
   the syncs are left out (it is closed in order, so nobody looks for them).
2. Nine of ten objects are crates (their digests stand in index files); every tenth is an index file
   with a record in `heads/`. Contents differ, so do digests: one file per object.

Runs in: benchmark.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import islice

from mirror.clock import SystemClock
from mirror.config import ByteSize, State
from mirror.config import Store as StoreSettings
from mirror.store.blobs import BlobFiles
from mirror.store.catalog import Catalog
from mirror.store.entry import Entry
from mirror.store.files import RealFiles
from mirror.store.layout import Layout
from mirror.store.store import Store

RECORDED_OF = 10
_BATCH = 5000
_FRESH_S = 86400.0


class UnsyncedFiles(RealFiles):
    """As the real ones, but nothing waits for the disk."""

    def sync(self, fd: int) -> None:
        """The benchmark's own power does not fail."""

    def sync_directory(self, path: str) -> None:
        """As `sync`."""


def content_of(number: int) -> bytes:
    return b'{"name":"bench","vers":"0.0.%d"}\n' % number


def key_of(number: int) -> str:
    if number % RECORDED_OF:
        return f"crates:/crates/bench/bench-0.0.{number}.crate"
    return f"index:/be/nc/bench{number}"


def make_store(root: str, state: str, count: int, budget: str) -> None:
    """Fill an empty store with `count` objects and close it."""
    files, clock = UnsyncedFiles(), SystemClock()
    settings = StoreSettings(path=root, budget=ByteSize(_bytes(budget)))
    store = Store.open(settings, State(path=state), files, clock, None)
    layout = Layout(root=root)
    blobs = BlobFiles(files, layout)
    catalog: Catalog = store._catalog  # the one way in that does not sync one by one
    now = clock.now()
    entries = _entries(count, now)
    while batch := list(islice(entries, _BATCH)):
        digests = [entry.digest for entry in batch]
        blobs.prepare_directories(digests)
        for number, entry in zip(_numbers(batch), batch, strict=True):
            fd = os.open(layout.blob(entry.digest), os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(fd, content_of(number))
            os.close(fd)
        catalog.heads.write(batch)
        with catalog.index.changing() as changes:
            for entry in batch:
                identity = blobs.identify(entry.digest)
                assert identity is not None
                changes.put_blob(entry.digest, identity, int(now * 1000))
                changes.put_entry(entry)
    store.close()


def _entries(count: int, now: float) -> Iterator[Entry]:
    for number in range(count):
        content = content_of(number)
        is_recorded = number % RECORDED_OF == 0
        yield Entry(
            key=key_of(number), status=200, digest=hashlib.sha256(content).digest(),
            length=len(content), media_type="text/plain", last_modified=0, upstream_etag='"v1"',
            upstream_last_modified="", fetched_at=now, confirmed_at=now,
            fresh_until=now + _FRESH_S, proof="parsed" if is_recorded else "index",
            upstream_version=str(number),
        )  # fmt: skip


def _numbers(batch: list[Entry]) -> list[int]:
    return [int(entry.upstream_version) for entry in batch]


def _bytes(text: str) -> int:
    return int(text.removesuffix("GiB")) << 30
