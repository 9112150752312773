"""The keeper's way to the store: blocking calls on threads, small writes in groups.

Rules:
1. No store call that may touch the disk for long runs on the event loop; index look-ups do (a
   B-tree read of some 20 us is cheaper than a thread hop). Only while a lost index is made anew
   may one read a small record, and commit it, for a key that the index does not know yet.
2. Small objects and metadata are committed in groups: what comes while one commit runs goes
   into the next one together, as one transaction. What is given in one call is never split.
3. A call that was started is waited for, also when its caller is cancelled: a thread must not
   write into a file that is being abandoned.
4. Nobody queues behind what need not come first: reservations and withdrawals do not wait for the
   group commits, nor the bytes of bodies for the syncs of those that are whole, nor any of them
   for whole hashes of stored blobs (`attests`, `feed`).
5. What the disk itself refuses is noted as the store's trouble, whoever asked for it.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mirror.errors import StoreError
from mirror.fill.attests import Attests
from mirror.fill.commits import Commit, lasting_records
from mirror.fill.ports import BlobReader, PartialFile, Reservation, Resumable, StoreDoor
from mirror.store.entry import Entry, Stored
from mirror.store.knowledge import Statement
from mirror.store.reader import BlobFile
from mirror.store.trouble import StoreTrouble

BODY_THREADS = 8  # hashing and writing release the GIL; more threads than disks queue anyway
PUBLISH_THREADS = 4  # they wait for the disk, most of them for the same journal
FEED_THREADS = 2  # each reads a whole body, of up to gigabytes
FLUSH_THREADS = 2  # one disk takes no more at once; whatever waits is still in memory
URGENT_THREADS = 2  # a reservation that has to evict does not hold up one that fits
BEHIND_BYTES = 33554432  # contents that wait in memory for a slow disk
FEED_BYTES = 1048576
TOUCHED_MAX = 32768  # 64 messages of workers, 10 MB: a disk that hangs must not cost memory
GROUP_MAX = 256  # commits joined into one transaction: bounds how long a batch takes

Piece = tuple[int, bytes]  # where the bytes belong, and they

_T = TypeVar("_T")


class StoreDesk:
    """Async calls on the store; `reader` reads stored small objects back."""

    def __init__(
        self, store: StoreDoor, reader: BlobReader, trouble: StoreTrouble | None = None
    ) -> None:
        """`trouble` None: nobody asks whether the store can take anything."""
        self._store = store
        self._trouble = trouble
        self._reader = reader
        self._attests = Attests(store)
        self._metadata = ThreadPoolExecutor(1, thread_name_prefix="metadata")
        self._urgent = ThreadPoolExecutor(URGENT_THREADS, thread_name_prefix="urgent")
        self._publishing = ThreadPoolExecutor(PUBLISH_THREADS, thread_name_prefix="publish")
        self._bodies = ThreadPoolExecutor(BODY_THREADS, thread_name_prefix="body")
        self._feeding = ThreadPoolExecutor(FEED_THREADS, thread_name_prefix="feed")
        self._flushing = ThreadPoolExecutor(FLUSH_THREADS, thread_name_prefix="flush")
        self._queue: list[Commit] = []
        self._committer: asyncio.Task[None] | None = None
        self._uncommitted_bytes = 0
        self._touched = 0  # keys whose use waits to be noted

    @property
    def is_storing(self) -> bool:
        """Whether there is any use in bringing content to the disk at the moment."""
        return self._trouble is None or self._trouble.is_storing

    def require_storing(self, key: str) -> None:
        """Raises StoreError while the disk takes nothing."""
        ailment = None if self._trouble is None else self._trouble.ailment
        if ailment is not None:
            raise StoreError(key, "the store takes nothing", trouble=ailment.kind)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the disk that whoever brings more had better wait too."""
        return self._uncommitted_bytes > BEHIND_BYTES

    def lookup(self, key: str) -> Stored | None:
        return self._store.lookup(key)

    def current(self, key: str) -> Stored | None:
        """Return the stored representation whose file is there and attested, or None."""
        stored = self.lookup(key)
        if stored is None or stored.entry.status != 200 or not self.is_intact(stored):
            return None
        return stored

    def is_intact(self, stored: Stored) -> bool:
        """Whether a worker would serve the file; an absence has none and is always intact."""
        if stored.attestation is None:
            return stored.entry.status != 200
        opened = self._reader.open_blob(stored)
        if isinstance(opened, BlobFile):
            os.close(opened.fd)
            return True
        return False

    def vouched(self, path: str) -> Statement | None:
        return self._store.vouched(path)

    def entries_of_prefix(self, prefix: str) -> list[Entry]:
        return self._store.entries_of_prefix(prefix)

    def entries_of_proof(self, proof: str) -> list[Entry]:
        """Reads the whole table, 1 us per entry: for the start, and in a thread (`compute`)."""
        return self._store.index.entries_of_proof(proof)

    async def recover_all(self) -> None:
        """Read every record that a lost index left to be read (`store.repair`)."""
        await self.compute(self._store.recover_all)

    def trust_mark(self) -> str:
        return self._store.trust_mark()

    async def note_trust_mark(self, mark: str) -> None:
        await self._in(self._metadata, self._store.note_trust_mark, mark)

    async def read_small(self, stored: Stored) -> bytes | None:
        """Return the content of a stored small object, or None when its file is not usable."""
        content = await self.compute(self._reader.load_small, stored)
        return content if isinstance(content, bytes) else None

    async def feed(self, stored: Stored, take: Callable[[bytes], None]) -> bool:
        """Give `take` the whole content of a stored blob, in a thread, piece by piece.

        False: its file is not usable. Raises StoreError when it cannot be read to its end.
        """
        return await self._in(self._feeding, self._feed, stored, take)

    async def put(
        self, items: Sequence[tuple[Entry, bytes]], records: Sequence[Entry] = ()
    ) -> list[Stored]:
        """Store small objects, and `records` with them: readers see all of it or nothing."""
        return await self._commit(Commit(puts=items, records=records))

    async def record(self, entries: Sequence[Entry]) -> None:
        await self._commit(Commit(records=entries))

    async def withdraw(self, keys: Sequence[str]) -> None:
        await self._in(self._urgent, self._store.withdraw, keys)

    def touch(self, keys: Sequence[str]) -> None:
        """Note recency; nobody waits for it. With `TOUCHED_MAX` keys waiting no more are noted."""
        if self._touched + len(keys) > TOUCHED_MAX:
            return
        self._touched += len(keys)
        noting = self._submit(self._metadata, self._store.touch, keys)
        noting.add_done_callback(functools.partial(self._noted, len(keys)))

    def manifest_read(self, key: str) -> bytes | None:
        return self._store.manifest_read(key)

    async def vouch(self, manifest: Entry, pairs: Iterable[tuple[str, bytes]]) -> None:
        await self._in(self._metadata, self._store.vouch, manifest, pairs)

    async def adopt(self, digest: bytes, entry: Entry) -> Stored | None:
        return await self._in(self._bodies, self._store.adopt, digest, entry)

    async def attest(self, stored: Stored) -> Stored | None:
        """Hash the blob of `stored`, once for all who ask; None: it is gone, or quarantined."""
        attested = await self._attests.attest(stored)
        if attested is not None and attested.entry.key == stored.entry.key:
            return attested
        return self.current(stored.entry.key)  # it was hashed for another key

    async def reserve(self, nbytes: int, resuming: Entry | None = None) -> Reservation | None:
        """Return a reservation, or None when the budget has no room. The caller releases it.

        What an earlier fill left of `resuming` counts once.
        """
        kept = None if resuming is None else (resuming.key, resuming.digest)
        future = self._submit(self._urgent, self._store.reserve, nbytes, kept)
        try:
            return await finished(future)
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None and future.result():
                future.result().release()  # nobody else will ever know of it
            raise

    async def extend(self, reservation: Reservation, more_bytes: int) -> bool:
        return await self._in(self._urgent, reservation.extend, more_bytes)

    async def resumable(self, key: str, digest: bytes) -> Resumable | None:
        if not self._store.may_resume(key, digest):
            return None  # of most nothing is kept: a look into a map instead of a thread
        return await self._in(self._bodies, self._store.resumable, key, digest)

    async def begin(
        self, entry: Entry, *, validator: str, length: int, reservation: Reservation
    ) -> PartialFile:
        """Open or resume the temp file. The caller publishes, quarantines or abandons it."""

        def call() -> PartialFile:
            return self._store.begin(
                entry.key,
                digest=entry.digest,
                validator=validator,
                length=length,
                reservation=reservation,
            )

        future = self._submit(self._bodies, call)
        try:
            return await finished(future)
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                self._store.abandon(future.result(), True)
            raise

    async def write(self, partial: PartialFile, data: bytes) -> None:
        """Append in a thread. At most one write per partial at a time (the caller's duty)."""
        await self._in(self._bodies, partial.write, data)

    def land(
        self, partial: PartialFile, pieces: Sequence[Piece], absorb_bytes: int, *, is_noted: bool
    ) -> asyncio.Future[bool]:
        """Write in a thread what belongs anywhere, then let the prefix take over what it reaches
        and hash `absorb_bytes` of it at most; the result: whether there are more. Notes how far it
        was flushed if asked.

        At most one call per partial at a time (the caller's duty).
        """

        def call() -> bool:
            for at, content in pieces:
                partial.write_at(at, content)
            has_more = partial.absorb(absorb_bytes)
            if is_noted:
                partial.note()
            return has_more

        return self._submit(self._bodies, call)

    def flush(self, partial: PartialFile) -> asyncio.Future[None]:
        """Bring to the disk what has landed, beside the writes. At most one call per partial."""
        return self._submit(self._flushing, partial.flush)

    async def digest(self, partial: PartialFile) -> bytes:
        return await self._in(self._bodies, partial.digest)

    async def publish(self, partial: PartialFile, entries: Sequence[Entry]) -> list[Stored]:
        return await self._in(self._publishing, self._store.publish, partial, entries)

    async def abandon(self, partial: PartialFile, *, keep: bool) -> None:
        await self._in(self._bodies, self._store.abandon, partial, keep)

    async def quarantine(self, partial: PartialFile, reason: str) -> None:
        await self._in(self._publishing, self._store.quarantine, partial, reason)

    async def compute(self, call: Callable[..., _T], *values: Any) -> _T:
        """Run a pure or reading function that would hold up the loop."""
        return await self._in(self._bodies, call, *values)

    async def code(self, call: Callable[..., _T], *values: Any) -> _T:
        """Run what reads, codes and publishes (`fill.variants`)."""
        return await self._in(self._publishing, call, *values)

    async def aclose(self) -> None:
        """Commit what is queued and end the threads; the store itself stays open."""
        if self._committer is not None:
            await self._committer
        await self._attests.aclose()
        for threads in (self._metadata, self._urgent, self._publishing, self._feeding):
            threads.shutdown(wait=True)
        for threads in (self._bodies, self._flushing):
            threads.shutdown(wait=True)

    def _feed(self, stored: Stored, take: Callable[[bytes], None]) -> bool:
        opened = self._reader.open_blob(stored)
        if not isinstance(opened, BlobFile):
            return False
        try:
            at = 0
            while at < stored.entry.length:
                piece = os.pread(opened.fd, FEED_BYTES, at)
                if not piece:
                    return False
                take(piece)
                at += len(piece)
        except OSError as exc:
            raise StoreError(stored.entry.key, f"cannot be read: {exc.strerror}") from exc
        finally:
            os.close(opened.fd)
        return True

    async def _in(self, executor: ThreadPoolExecutor, call: Callable[..., _T], *values: Any) -> _T:
        return await finished(self._submit(executor, call, *values))

    def _submit(
        self, executor: ThreadPoolExecutor, call: Callable[..., _T], *values: Any
    ) -> asyncio.Future[_T]:
        return asyncio.get_running_loop().run_in_executor(executor, self._noting, call, *values)

    def _noting(self, call: Callable[..., _T], *values: Any) -> _T:
        try:
            return call(*values)
        except StoreError as exc:
            self._note(exc)
            raise

    def _noted(self, keys: int, noting: asyncio.Future[None]) -> None:
        self._touched -= keys
        if not noting.cancelled():
            noting.exception()  # recency is advice

    def _note(self, error: StoreError) -> None:
        if self._trouble is not None:
            self._trouble.met(error)

    async def _commit(self, commit: Commit) -> list[Stored]:
        self._queue.append(commit)
        self._uncommitted_bytes += commit.nbytes
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_groups(), name="group commit")
        return await asyncio.shield(commit.done)

    async def _commit_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            group, self._queue = self._queue[:GROUP_MAX], self._queue[GROUP_MAX:]
            try:
                results = await loop.run_in_executor(self._metadata, self._write_group, group)
            except Exception as exc:  # noqa: BLE001 - the edge of a commit: its askers get it
                results = [exc] * len(group)
            for commit, result in zip(group, results, strict=True):
                self._uncommitted_bytes -= commit.nbytes
                commit.settle(result)
        self._committer = None

    def _write_group(self, group: list[Commit]) -> list[list[Stored] | Exception]:
        """Write all in one transaction; when that fails, one by one, so that one bad object
        does not take the others along."""
        try:
            puts = [item for commit in group for item in commit.puts]
            records = lasting_records(group)
            if puts:
                stored = self._store.put_small(puts, records=records)
            else:
                stored = []
                self._store.record(records)
        except StoreError as exc:
            self._note(exc)
            if len(group) == 1:
                return [exc]
            return [result for commit in group for result in self._write_group([commit])]
        at = iter(stored)
        return [[next(at) for _ in commit.puts] for commit in group]


async def finished(future: asyncio.Future[_T]) -> _T:
    """Await a thread's result; on cancellation wait for its end first, then be cancelled."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue  # a second cancellation does not make the thread stop sooner
        if not future.cancelled():
            future.exception()  # the canceller gets the cancellation, not the error
        raise
