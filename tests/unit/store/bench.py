"""What the store's tests stand on: an obedient clock, entries for contents, a store in a folder."""

from __future__ import annotations

import gc
import hashlib
import math
import os
from collections.abc import Iterable

from mirror import config
from mirror.config import ByteSize, ByteSizeOrZero
from mirror.errors import StoreError
from mirror.store.entry import Entry, Stored
from mirror.store.eviction import EvictionPolicy
from mirror.store.files import Files, RealFiles
from mirror.store.layout import Layout
from mirror.store.page import SharedPage
from mirror.store.reader import StoreReader
from mirror.store.store import Store
from tests.faults.files import FaultFiles

START_AT = 1_700_000_000.0


class FakeClock:
    """Two clocks that move only when told."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def advance(self, seconds: float) -> None:
        self.passed_s += seconds

    def now(self) -> float:
        return START_AT + self.passed_s

    def monotonic(self) -> float:
        return 1000.0 + self.passed_s


class RecordingLog:
    """An EventLog that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    warning = error = info

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def entry_of(
    key: str,
    content: bytes,
    *,
    proof: str = "index",
    etag: str = '"v1"',
    at: float = START_AT,
    fresh_until: float = math.inf,
) -> Entry:
    return Entry(
        key=key, status=200, digest=sha256(content), length=len(content),
        media_type="application/gzip", last_modified=0, upstream_etag=etag,
        upstream_last_modified="", fetched_at=at, confirmed_at=at, fresh_until=fresh_until,
        proof=proof,
    )  # fmt: skip


def absence_of(key: str, *, fresh_until: float = START_AT + 30) -> Entry:
    return Entry(
        key=key, status=404, digest=b"", length=0, media_type="", last_modified=0,
        upstream_etag="", upstream_last_modified="", fetched_at=START_AT, confirmed_at=START_AT,
        fresh_until=fresh_until, proof="upstream",
    )  # fmt: skip


class Bench:
    """One store directory that stores are opened in, one after another."""

    def __init__(self, root: str, *, budget_bytes: int = 1 << 20) -> None:
        self.root = root
        self.store_config = config.Store(
            path=f"{root}/store",
            budget=ByteSize(budget_bytes),
            quarantine_budget=ByteSize(4096),
            free_floor=ByteSizeOrZero(0),
            free_inodes=0,
        )
        self.state_config = config.State(path=f"{root}/state")
        self.layout = Layout(root=self.store_config.path)
        self.clock = FakeClock()
        self.log = RecordingLog()
        os.makedirs(self.state_config.path, exist_ok=True)
        self.page = SharedPage.create(f"{root}/state/shared.page", 2)

    def open(
        self,
        files: Files | None = None,
        policy: EvictionPolicy | None = None,
        *,
        repairs_later: bool = False,
    ) -> Store:
        return Store.open(
            self.store_config,
            self.state_config,
            files or FaultFiles(),  # without a fault: every process sees one boot
            self.clock,
            self.page,
            log=self.log,
            policy=policy,
            repairs_later=repairs_later,
        )

    def reader(self, files: Files | None = None) -> StoreReader:
        return StoreReader(
            self.store_config.path, files or RealFiles(), clock=self.clock, page=self.page
        )

    def blob_files(self) -> dict[str, int]:
        """Return name and size of every file below `blobs/`."""
        return {
            name: os.path.getsize(os.path.join(where, name))
            for where, _, names in os.walk(self.layout.blobs)
            for name in names
        }

    def temps(self) -> list[str]:
        return sorted(os.listdir(self.layout.partials))

    def blob(self, content: bytes) -> str:
        return self.layout.blob(sha256(content))


def put(store: Store, key: str, content: bytes, *, proof: str = "index") -> Stored:
    return store.put_small([(entry_of(key, content, proof=proof), content)])[0]


def publish(store: Store, key: str, content: bytes, *, chunk_bytes: int = 1000) -> Stored:
    """Fill one object as a flight does."""
    entry = entry_of(key, content)
    reservation = store.reserve(len(content))
    if reservation is None:
        raise StoreError(key, "no room")
    partial = store.begin(
        key, digest=entry.digest, validator='"v1"', length=len(content), reservation=reservation
    )
    try:
        for at in range(partial.landed, len(content), chunk_bytes):
            partial.write(content[at : at + chunk_bytes])
        return store.publish(partial, [entry])[0]
    finally:
        store.abandon(partial, True)


def end_process(store: Store | None, files: FaultFiles) -> None:
    """Do to `store` what a kill does: its descriptors close, nothing else happens."""
    files.bury()
    del store
    gc.collect()


def contents_of(reader: StoreReader, keys: Iterable[str]) -> dict[str, bytes]:
    """Return what a worker would serve for `keys`."""
    served: dict[str, bytes] = {}
    for key in keys:
        stored = reader.lookup(key)
        if stored is None or stored.entry.status != 200:
            continue
        content = reader.load_small(stored)
        if isinstance(content, bytes):
            served[key] = content
    return served
