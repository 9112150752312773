"""Brings the index and the files into line again, in the background, in small commits.

Two occasions: the index was lost or thrown away (`Need.RESCAN`), or the kernel may have lost what
was never synced (`Need.CHECK`: another boot without a clean close). Sequence:
1. CHECK only: every page of the index is read, beside whoever uses it. Damage makes it a RESCAN.
2. Records in `heads/` name their blobs again, a generation whole or not at all.
3. Every blob file without a row gets one, unattested: the first who asks for it has it hashed.
4. CHECK only: rows whose file is gone, or of another length, go (the latter's file is condemned).
5. The note that this is to be done goes; from here on the byte budget counts what was found.
A process that dies before 5 begins anew with the next start; what was found stays found.

Rules:
1. What is looked at is looked at again under the store's lock before a row says so: between the
   listing and the commit it may have been evicted, withdrawn or replaced.
2. No commit is of more than `_BATCH` rows, and nothing is held between two of them.
3. A key that is asked for meanwhile is repaired at once (`recover`), so that nobody waits for the
   whole, and nothing is fetched that is here.
4. An entry that the index knows is newer than its record. Half a generation names nothing.

Runs in: keeper: `run` in a thread, `recover` in any (it costs one small file and one commit).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.store.attesting import Attester
from mirror.store.blobs import BlobSeen
from mirror.store.budget import footprint
from mirror.store.catalog import Catalog
from mirror.store.changes import Changes
from mirror.store.connections import DatabaseDamagedError
from mirror.store.entry import Entry, Stored
from mirror.store.files import disk_errors
from mirror.store.recovery import Need, note_need, put_seen

# 128 rows take some 5 ms under the store's lock: nobody notices. Records are read under it too.
_BATCH = 128
_HEADS_PER_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairProgress:
    """What `status` shows while it runs. `began_at` is in Unix seconds."""

    need: str
    step: str
    began_at: float
    blobs_found: int
    entries_found: int
    rows_dropped: int


class Repair:
    """Repairs one store."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        attester: Attester,
        clock: Clock,
        lock: threading.RLock,
        log: EventLog | None,
        boot: str,
    ) -> None:
        self._catalog = catalog
        self._attester = attester
        self._clock = clock
        self._lock = lock
        self._log = log
        self._boot = boot
        self._running = threading.Lock()
        self._is_closing = False
        self._turn = 0  # a repair that a rebuild overtakes ends without a word
        self._steps: Iterator[None] | None = None
        self._heads_are_due = False
        self._begin(Need.NOTHING)

    @property
    def is_open(self) -> bool:
        """Whether something is still to be repaired."""
        return self._need is not Need.NOTHING

    @property
    def is_running(self) -> bool:
        """Whether a thread is in `run`."""
        return self._running.locked()

    def progress(self) -> RepairProgress | None:
        """Return how far it is; None: nothing is to be done. Waits for nobody."""
        if not self.is_open:
            return None
        return RepairProgress(
            need=self._need.value, step=self._step, began_at=self._began_at,
            blobs_found=self._blobs, entries_found=self._entries, rows_dropped=self._dropped,
        )  # fmt: skip

    def begin(self, need: Need) -> None:
        """Note durably that there is something to do; the budget is in doubt until it is done.

        The caller holds the store's lock, or is alone. Raises StoreError.
        """
        note_need(self._catalog.index, self._boot, need)
        if need is not Need.NOTHING:
            self._catalog.doubt()
        self._begin(need)
        if need is not Need.NOTHING and self._log is not None:
            self._log.warning("index-repair-begun", need=need.value)

    def run(self, for_s: float = float("inf")) -> bool:
        """Go on for about `for_s` seconds; whether more is to be done.

        Raises: StoreError when disk or database fail; the next call begins anew.
        """
        until = time.monotonic() + for_s
        with self._running:
            while self._steps is not None and not self._is_closing:
                try:
                    next(self._steps, None)
                except StoreError:
                    self._begin_anew()
                    raise
                if time.monotonic() >= until:
                    break
        return self.is_open

    def recover_all(self) -> None:
        """Go on until every record was read; not under the store's lock. Raises StoreError."""
        while self._heads_are_due and not self._is_closing:
            self.run(1.0)

    def recover(self, key: str) -> Stored | None:
        """Return what `key` named before the index was lost, if a record says so and it is here."""
        if not self._heads_are_due or not self._catalog.heads.is_there(key):
            return None
        try:
            with self._lock:
                self._take_group(self._catalog.heads.group_of_key(key))
            return self._catalog.index.lookup(key)
        except (StoreError, OSError):
            return None  # as good as absent; the repair meets the same trouble, and tells

    def close(self) -> None:
        """End `run` wherever it is; what is left is done after the next start."""
        self._is_closing = True
        with self._running:
            self._steps = None

    def __repr__(self) -> str:
        return f"<Repair {self._need.value} {self._step}: {self._blobs} blobs found>"

    def _begin(self, need: Need) -> None:
        self._turn += 1
        self._need = need
        self._step = ""
        self._began_at = self._clock.now()
        self._blobs = self._entries = self._dropped = 0
        self._heads_are_due = need is not Need.NOTHING
        self._steps = None if need is Need.NOTHING else self._repair(self._turn)

    def _begin_anew(self) -> None:
        with self._lock:
            if self.is_open:
                self._turn += 1
                self._steps = self._repair(self._turn)

    def _repair(self, turn: int) -> Iterator[None]:
        """Yield after each small commit."""
        steps: list[tuple[str, Callable[[], Iterator[Callable[[], None]]]]] = [
            ("heads", self._heads), ("blobs", self._files)
        ]  # fmt: skip
        if self._need is Need.CHECK:
            self._step = "check"
            self._check()
            yield
            steps.append(("rows", self._rows))
        for name, batches in steps:
            self._step = name
            with disk_errors(name):
                for commit in batches():
                    with self._lock:
                        if turn != self._turn:
                            return
                        commit()
                    yield
            if name == "heads":
                self._heads_are_due = False
        with self._lock:
            if turn == self._turn:
                self._finish()

    def _finish(self) -> None:
        note_need(self._catalog.index, self._boot, Need.NOTHING)
        self._catalog.budget.is_counted()
        if self._log is not None:
            self._log.info(
                "index-rescanned", need=self._need.value, blobs=self._blobs,
                entries=self._entries, dropped=self._dropped,
                took_s=round(self._clock.now() - self._began_at, 1),
            )  # fmt: skip
        self._need = Need.NOTHING
        self._steps = None

    def _check(self) -> None:
        """Step 1."""
        try:
            self._catalog.index.require_sound(lambda: self._is_closing)
        except DatabaseDamagedError:
            with self._lock:
                self._catalog.rebuild()  # which begins a rescan

    def _heads(self) -> Iterator[Callable[[], None]]:
        """Step 2."""
        heads = self._catalog.heads
        places = heads.places()

        def commit(batch: Sequence[str]) -> None:
            for place in batch:
                self._take_group(heads.group_at(place))

        while batch := list(islice(places, _HEADS_PER_BATCH)):
            yield lambda batch=batch: commit(batch)  # type: ignore[misc] # bound early

    def _files(self) -> Iterator[Callable[[], None]]:
        """Step 3."""
        names = self._catalog.blobs.names()
        while batch := list(islice(names, _BATCH)):
            yield lambda batch=batch: self._take_files(batch)  # type: ignore[misc] # bound early

    def _rows(self) -> Iterator[Callable[[], None]]:
        """Step 4."""
        after = b""
        while page := self._catalog.index.blobs_after(after, _BATCH):
            after = page[-1][0]
            for digest, length in page:
                seen = self._seen(digest)
                if seen is None:
                    yield lambda digest=digest: self._drop_absent(digest)  # type: ignore[misc] # bound early
                elif seen.attestation.size != length:
                    self._attester.attest_blob(digest)  # hashed: vouched for, or condemned
            yield _nothing

    def _take_group(self, entries: Sequence[Entry]) -> None:
        """Name blobs again by one record, or the records of one generation: all or none."""

        def change(changes: Changes) -> tuple[list[BlobSeen], int]:
            blobs = [self._seen(entry.digest) for entry in entries]
            known = [changes.entry(entry.key) for entry in entries]
            is_whole = all(
                blob is not None
                and blob.attestation.size == entry.length
                and (other is None or other.digest == entry.digest)
                for entry, blob, other in zip(entries, blobs, known, strict=True)
            )
            if not is_whole:
                return [], 0
            put = _put_rows(changes, [blob for blob in blobs if blob is not None])
            missing = [e for e, other in zip(entries, known, strict=True) if other is None]
            for entry in missing:
                changes.put_entry(entry)
            return put, len(missing)

        if entries:
            put, named = self._catalog.commit(change)
            self._count(put)
            self._entries += named

    def _take_files(self, digests: Sequence[bytes]) -> None:
        def change(changes: Changes) -> list[BlobSeen]:
            absent = [digest for digest in digests if changes.blob_length(digest) is None]
            return _put_rows(changes, [s for digest in absent if (s := self._seen(digest))])

        self._count(self._catalog.commit(change))

    def _drop_absent(self, digest: bytes) -> None:
        if self._seen(digest) is None and self._catalog.index.has_blob(digest):
            self._catalog.drop_blob(digest)
            self._dropped += 1

    def _seen(self, digest: bytes) -> BlobSeen | None:
        identity = self._catalog.blobs.identify(digest)
        return None if identity is None else BlobSeen(digest=digest, attestation=identity)

    def _count(self, put: Sequence[BlobSeen]) -> None:
        self._blobs += len(put)
        self._catalog.budget.found(sum(footprint(blob.attestation.size) for blob in put))


def _put_rows(changes: Changes, blobs: Sequence[BlobSeen]) -> list[BlobSeen]:
    """Give rows to those that have none; return these."""
    by_digest = {blob.digest: blob for blob in blobs}  # files of a generation may be alike
    put = [blob for blob in by_digest.values() if changes.blob_length(blob.digest) is None]
    for blob in put:
        put_seen(changes, blob)
    return put


def _nothing() -> None:
    """A page of rows was in order."""
