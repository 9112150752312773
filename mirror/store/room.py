"""Making room in the byte budget and on the disk: carries out what the policy decided.

Rules:
1. Rows go first, in one commit that also notes the files to remove (evict.committed); then the
   files (evict.unlinked); then the note (evict.forgotten). The next start removes what is noted.
   A worker that meets the gap finds ENOENT, which is a miss. No epoch: bytes that are gone cannot
   be served wrong.
2. When the disk is too full even for that commit, the files go first: the same gap, the other way.
3. Blobs go before kept temps, held and pinned blobs never.
4. A variant goes with the blob that it is a form of; the policy counts the latter alone.
5. Room that is there is given without waiting for anybody; only eviction takes the store's lock,
   and whoever is of a class with a quota.
6. What passes a class's quota goes from that class. Of classes that are above theirs, as much as
   they are above goes before anything else.

Units: bytes, as footprints.
Runs in: keeper (any thread).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from mirror.errors import StoreError
from mirror.store.capacity import Capacity
from mirror.store.catalog import Catalog
from mirror.store.changes import Changes, Removed
from mirror.store.classes import OTHER
from mirror.store.eviction import BlobUse, EvictionPolicy
from mirror.store.files import disk_errors
from mirror.store.holds import Holds
from mirror.store.index import Index
from mirror.store.partials import Partials
from mirror.store.points import Point, passed
from mirror.store.tally import StoreTally

_FIRST_CANDIDATES = 16  # mostly the first will do; each step looks at four times as many
_CANDIDATES_MAX = 256
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
        capacity: Capacity,
        lock: threading.RLock,
        tally: StoreTally,
        leftover: set[bytes],
    ) -> None:
        """`leftover`: blobs without a row whose files the disk refused to remove."""
        self._catalog = catalog
        self._partials = partials
        self._holds = holds
        self._policy = policy
        self._capacity = capacity
        self._lock = lock
        self._tally = tally
        self._leftover = leftover

    def take(self, cost_bytes: int, content_class: int = OTHER) -> bool:
        """Promise `cost_bytes`, evicting for them; False when they cannot be had: then at most
        what a quota wanted has gone.

        Raises: StoreError; when the disk is below a floor, one that tells of that trouble.
        """
        budget, capacity = self._catalog.budget, self._capacity
        if cost_bytes > capacity.most_of(content_class):
            return False
        if not capacity.has_quota(content_class) and not capacity.inode_shortfall():
            if budget.take(cost_bytes, capacity.free_bytes(), content_class):
                return True
        if budget.is_in_doubt:
            return False  # it is not known yet that anything must go
        with self._lock:
            # Somebody who needs no eviction may be quicker to what was freed: once more, then.
            # The disk is not asked again: a blob that a worker has open is freed only later.
            while self._keep_quota(cost_bytes, content_class) and self._make_room(cost_bytes):
                if budget.take(cost_bytes, _ANY_DISK_BYTES, content_class):
                    return True
        capacity.require_floors()
        return False

    def _keep_quota(self, nbytes: int, content_class: int) -> bool:
        """Let a class make room for its own; False: it cannot."""
        over = self._capacity.over_quota(content_class, nbytes)
        victims = self._victims(over, only=content_class) if over else []
        if victims:
            self.evict(victims)
        return bool(victims) or not over

    def _make_room(self, nbytes: int) -> bool:
        shortfall = self._shortfall(nbytes)
        if not shortfall:
            return self._free_inodes()
        if self._reclaim(shortfall):
            return True  # whoever asks looks again
        victims = self._victims(shortfall)
        if not victims and self._catalog.budget.kept_bytes:
            self._partials.drop_kept(shortfall)
            shortfall = self._shortfall(nbytes)
            victims = self._victims(shortfall) if shortfall else []
        if not victims:
            return not shortfall and self._free_inodes()
        self.evict(victims)
        return self._free_inodes()

    def _reclaim(self, shortfall: int) -> bool:
        """Take what classes have beyond their quotas; whether anything went."""
        for content_class, over in self._capacity.overdrawn().items():
            victims = self._victims(min(over, shortfall), only=content_class)
            if victims:
                self.evict(victims)
                return True
        return False

    def _free_inodes(self) -> bool:
        """Evict until there are inodes for another fill; False: there are not enough blobs."""
        short = self._capacity.inode_shortfall()
        if not short:
            return True
        each = (replace(blob, freed_bytes=1) for blob in self._coldest())
        victims = self._policy.choose_victims(each, short)
        if victims:
            self.evict(victims)
        return bool(victims)

    def evict(self, victims: Sequence[BlobUse]) -> None:
        """Remove blobs with every key naming them. Raises StoreError."""
        self._remove([victim.digest for victim in victims], victims)

    def remove(self, digests: Sequence[bytes]) -> None:
        """As `evict`, by somebody's wish: the policy learns nothing from it. Raises StoreError."""
        self._remove(digests, ())

    def _remove(self, chosen: Sequence[bytes], victims: Sequence[BlobUse]) -> None:
        def change(changes: Changes) -> list[Removed]:
            changes.gone(victims)
            return drop_rows(changes, chosen)

        try:
            gone = self._catalog.commit(change)
        except StoreError:
            self._remove_files(chosen)  # rule 2: this frees what the second try needs
            gone = self._catalog.commit(change)
        self.finish(chosen, gone)

    def finish(self, chosen: Sequence[bytes], gone: Sequence[Removed]) -> None:
        """Remove the files of what `drop_rows` dropped in a commit. Raises StoreError."""
        passed(Point.EVICT_COMMITTED)
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
        passed(Point.EVICT_UNLINKED)
        # What fails here is settled at the next start: the rows are gone, the note is there.
        with contextlib.suppress(StoreError):
            self._catalog.remove_heads(keys, durable=False)
            self._catalog.commit(lambda changes: changes.removed(removed))
        passed(Point.EVICT_FORGOTTEN)
        self._require_removed()

    def clear_leftovers(self) -> None:
        """Remove the files of what has gone, where the disk refused. Raises StoreError."""
        with self._lock:
            self._remove((), ())

    def _require_removed(self) -> None:
        """Room that was made in the index alone is none on the disk. Raises StoreError."""
        for digest in self._leftover:
            if not self._holds.is_held(digest):
                with disk_errors(digest.hex()):
                    self._catalog.blobs.remove(digest)

    def shrink(self, needed_bytes: int) -> bool:
        """Let go of `needed_bytes`, or of what there is; False: nothing may go.

        The caller holds the store's lock. Raises: StoreError.
        """
        budget = self._catalog.budget
        kept_bytes = budget.kept_bytes
        if kept_bytes:
            self._partials.drop_kept(min(kept_bytes, needed_bytes))
            if budget.kept_bytes < kept_bytes:
                return True
        victims = self._victims(needed_bytes) or self._victims(1)
        if victims:
            self.evict(victims)
        return bool(victims)

    def _remove_files(self, digests: Iterable[bytes]) -> list[bytes]:
        """Remove what can be removed; return it."""
        removed: list[bytes] = []
        for digest in digests:
            with contextlib.suppress(OSError):
                self._catalog.blobs.remove(digest)
                removed.append(digest)
        return removed

    def _shortfall(self, nbytes: int) -> int:
        return self._capacity.shortfall(nbytes)

    def _victims(self, needed_bytes: int, *, only: int | None = None) -> list[BlobUse]:
        return self._policy.choose_victims(self._coldest(only), needed_bytes)

    def _coldest(self, only: int | None = None) -> Iterator[BlobUse]:
        """Yield what may go, coldest first; `only` of one class."""
        now_ms = self._catalog.now_ms()

        def prepare(changes: Changes) -> None:
            # Here, because only here pins count: an index made anew meanwhile knows none.
            changes.pin(self._capacity.pins)
            changes.bound_ranks(now_ms)

        self._catalog.commit(prepare)
        last, limit = None, _FIRST_CANDIDATES
        while True:
            page = self._catalog.commit(
                partial(Changes.coldest, after=last, limit=limit, only=only)
            )
            yield from (blob for blob in page if not self._holds.is_held(blob.digest))
            if len(page) < limit:
                return
            last, limit = page[-1], min(4 * limit, _CANDIDATES_MAX)


def drop_rows(changes: Changes, chosen: Sequence[bytes]) -> list[Removed]:
    """Drop blobs with every key naming them, and condemn their files; `Room.finish` goes on."""
    removed = [changes.remove_blob(digest) for digest in chosen]
    changes.doom(_digests(chosen, removed))
    return removed


def _digests(chosen: Sequence[bytes], removed: Sequence[Removed]) -> list[bytes]:
    """The files to remove: the victims' own and those of their variants."""
    return [*chosen, *(variant for one in removed for variant in one.variants)]
