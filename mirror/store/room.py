"""Making room in the byte budget and on the disk: carries out what the policy decided.

Rules:
1. Rows go first, in one commit that also notes the files to remove; then the files; then the note.
   A worker that meets the gap finds ENOENT, which is a miss. No epoch: bytes that are gone cannot
   be served wrong.
2. When the disk is too full even for that commit, the files go first: the same gap, the other way.
3. Blobs go before kept temps, held and pinned blobs never.
4. A variant goes with the blob that it is a form of; the policy counts the latter alone.
5. Room that is there is given without waiting for anybody; only eviction takes the store's lock.

Units: bytes, as footprints.
Runs in: keeper (any thread).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from mirror.errors import StoreError
from mirror.store.catalog import Catalog
from mirror.store.changes import Changes, Removed
from mirror.store.eviction import BlobUse, EvictionPolicy
from mirror.store.files import Files, disk_errors
from mirror.store.holds import Holds
from mirror.store.index import Index
from mirror.store.partials import Partials
from mirror.store.tally import StoreTally

_CANDIDATES_PER_STEP = 256
_ANY_DISK_BYTES = 1 << 62


class Room:
    """Evicts in one store."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        partials: Partials,
        holds: Holds,
        policy: EvictionPolicy,
        files: Files,
        path: str,
        lock: threading.RLock,
        tally: StoreTally,
    ) -> None:
        self._catalog = catalog
        self._partials = partials
        self._holds = holds
        self._policy = policy
        self._files = files
        self._path = path
        self._lock = lock
        self._tally = tally
        self._leftover: set[bytes] = set()  # evicted, but the disk refused to remove the file

    def take(self, cost_bytes: int) -> bool:
        """Promise `cost_bytes`, evicting for them; False, with nothing evicted, when they cannot
        be had.

        Raises: StoreError.
        """
        budget = self._catalog.budget
        if cost_bytes > budget.budget_bytes:
            return False
        if budget.take(cost_bytes, self._free_bytes()):
            return True
        with self._lock:
            # Somebody who needs no eviction may be quicker to what was freed: once more, then.
            # The disk is not asked again: a blob that a worker has open is freed only later.
            while self._make_room(cost_bytes):
                if budget.take(cost_bytes, _ANY_DISK_BYTES):
                    return True
        return False

    def _make_room(self, nbytes: int) -> bool:
        shortfall = self._shortfall(nbytes)
        if not shortfall:
            return True
        victims = self._victims(shortfall)
        if not victims and self._catalog.budget.kept_bytes:
            self._partials.drop_kept(shortfall)
            shortfall = self._shortfall(nbytes)
            victims = self._victims(shortfall) if shortfall else []
        if not victims:
            return not shortfall
        self.evict(victims)
        return True

    def evict(self, victims: Sequence[BlobUse]) -> None:
        """Remove blobs with every key naming them. Raises StoreError."""
        chosen = [victim.digest for victim in victims]

        def change(changes: Changes) -> list[Removed]:
            removed = [changes.remove_blob(digest) for digest in chosen]
            changes.doom(_digests(chosen, removed))
            return removed

        try:
            gone = self._catalog.commit(change)
        except StoreError:
            self._remove_files(chosen)  # rule 2: this frees what the second try needs
            gone = self._catalog.commit(change)
        freed_bytes = sum(removed.freed_bytes for removed in gone)
        self._catalog.budget.store(-freed_bytes)
        self._tally.evicted(len(_digests(chosen, gone)), freed_bytes)
        keys = [key for removed in gone for key in removed.keys]
        digests = _digests(chosen, gone)
        # A leftover that was fetched again meanwhile is a blob like any other.
        known = {d for d in self._leftover if self._catalog.read(partial(Index.has_blob, digest=d))}
        self._leftover -= known
        self._leftover.update(digests)
        # One that is held is on its way back: its file may be there before its row.
        removed = self._remove_files(d for d in self._leftover if not self._holds.is_held(d))
        self._leftover.difference_update(removed)
        # What fails here is settled at the next start: the rows are gone, the note is there.
        with contextlib.suppress(StoreError):
            self._catalog.remove_heads(keys, durable=False)
            self._catalog.commit(lambda changes: changes.removed(removed))

    def _remove_files(self, digests: Iterable[bytes]) -> list[bytes]:
        """Remove what can be removed; return it."""
        removed: list[bytes] = []
        for digest in digests:
            with contextlib.suppress(OSError):
                self._catalog.blobs.remove(digest)
                removed.append(digest)
        return removed

    def _shortfall(self, nbytes: int) -> int:
        budget = self._catalog.budget
        free_bytes = self._free_bytes()
        with budget.lock:
            return budget.shortfall(nbytes, free_bytes)

    def _free_bytes(self) -> int:
        with disk_errors(self._path):
            return self._files.free_bytes(self._path)

    def _victims(self, needed_bytes: int) -> list[BlobUse]:
        return self._policy.choose_victims(self._coldest(), needed_bytes)

    def _coldest(self) -> Iterator[BlobUse]:
        last: BlobUse | None = None
        while True:
            page = self._catalog.commit(
                partial(Changes.coldest, after=last, limit=_CANDIDATES_PER_STEP)
            )
            yield from (blob for blob in page if not self._holds.is_held(blob.digest))
            if len(page) < _CANDIDATES_PER_STEP:
                return
            last = page[-1]


def _digests(chosen: Sequence[bytes], removed: Sequence[Removed]) -> list[bytes]:
    """The files to remove: the victims' own and those of their variants."""
    return [*chosen, *(variant for one in removed for variant in one.variants)]
