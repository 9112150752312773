"""Taking stored things away because somebody said so: `purge` and `gc`.

Rules:
1. A purge is of keys: one durable commit takes their entries and the rows of the blobs that nothing
   else names, and condemns the files; then the epoch moves, then the files go, and what is kept to
   be resumed of them. A crash before the commit leaves all of it, one behind it what the next start
   removes. So what was purged is fetched anew. A pin does not stop it.
2. A blob that another key names stays, as does one that somebody holds: who asks for the purged key
   has that file hashed whole and named anew.
3. Room is made in steps, so that nobody waits for the store's lock for long.

Units: bytes as footprints; Unix seconds.
Does not: ask whether that is meant, or wait until workers know (`control.acknowledging`).
Runs in: keeper and commands (the store's owner, any thread).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from mirror.errors import StoreError
from mirror.store.budget import Budget, footprint
from mirror.store.catalog import Catalog
from mirror.store.changes import Changes, Removed
from mirror.store.holds import Holds
from mirror.store.partials import Partials
from mirror.store.repair import Repair
from mirror.store.room import drop_rows
from mirror.store.unneeded import UnneededBlob

STEP_KEYS: Final = 500  # one durable commit; some 20 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Keys, and what purging them would free; `absences` of them are remembered as absent."""

    keys: tuple[str, ...]
    absences: int
    digests: frozenset[bytes]  # what they name
    blobs: int
    freed_bytes: int


class Evicting(Protocol):
    """`store.room.Room`."""

    def remove(self, digests: Sequence[bytes]) -> None: ...

    def finish(self, chosen: Sequence[bytes], gone: Sequence[Removed]) -> None:
        """Remove the files of what `room.drop_rows` dropped."""
        ...

    def shrink(self, needed_bytes: int) -> bool:
        """Evict as the policy says; False: nothing (more) may go."""
        ...


class Purger:
    """Purges in one store, and collects what it no longer needs."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        room: Evicting,
        partials: Partials,
        holds: Holds,
        budget: Budget,
        repair: Repair,
        lock: threading.RLock,
    ) -> None:
        self._catalog = catalog
        self._room = room
        self._partials = partials
        self._holds = holds
        self._budget = budget
        self._repair = repair
        self._lock = lock

    def recover_all(self) -> None:
        """Read every record that a lost index left to be read. Raises StoreError."""
        self._repair.recover_all()

    def require_repaired(self) -> None:
        """Raises StoreError while index and files are brought into line."""
        if self._repair.is_open:
            raise StoreError(
                "index.db",
                "is being repaired: what no key names is not known yet",
                hint="wait for the event index-rescanned; `rust-mirror status` shows how far it is",
            )

    def named(self, keys: Iterable[str]) -> Named:
        """Return those of `keys` that have an entry, and what they take. Raises StoreError."""
        wanted = list(dict.fromkeys(keys))
        found = {
            key: digest
            for key in wanted
            if (digest := self._catalog.index.unneeded.digest_named(key)) is not None
        }
        digests = frozenset(found.values()) - {b""}
        alone = self._named_by_none_but(found.keys(), digests)
        return Named(
            keys=tuple(found),
            absences=sum(not digest for digest in found.values()),
            digests=digests,
            blobs=len(alone),
            freed_bytes=sum(map(footprint, alone.values())),
        )

    def keys_of_prefix(self, prefix: str, after: str, limit: int) -> list[str]:
        """Return the next keys with an entry that begin so, absences too. Raises StoreError."""
        return self._catalog.index.unneeded.keys_of_prefix(prefix, after, limit)

    def purge(self, keys: Sequence[str]) -> Named:
        """Take the entries of `keys` away, and what only they named; return what went.

        Durable when it returns; the epoch has moved. Raises: StoreError.
        """
        with self._lock:
            going = self.named(keys)
            if going.keys:
                chosen, gone = self._catalog.withdraw_with(
                    going.keys, partial(self._drop_unnamed, going.digests)
                )
                if chosen:
                    self._room.finish(chosen, gone)
            # A record of what an index that is being made anew does not know yet.
            self._catalog.remove_heads(frozenset(keys).difference(going.keys), durable=True)
            self._partials.drop_of(keys)
        return going

    def unnamed(self, after: bytes, limit: int) -> list[UnneededBlob]:
        """Return the next blobs, by digest, that were let go (`unneeded`). Raises StoreError."""
        return self._catalog.index.unneeded.unnamed_after(after, limit)

    def remove_unnamed(self, digests: Sequence[bytes]) -> int:
        """Remove these as far as still no key names them; return the bytes. Raises StoreError."""
        with self._lock:
            unneeded = self._catalog.index.unneeded
            found = (unneeded.unnamed(digest) for digest in digests)
            going = [
                each for each in found if each is not None and not self._holds.is_held(each.digest)
            ]
            if going:
                self._room.remove([each.digest for each in going])
        return sum(blob.freed_bytes for blob in going)

    def count_ended_absences(self, before_at: float) -> int:
        return self._catalog.index.unneeded.count_ended_absences(before_at)

    def forget_absences(self, before_at: float, limit: int) -> int:
        """Forget absences whose freshness ended before; return how many. Raises StoreError."""
        with self._lock:
            gone = self._catalog.index.unneeded.ended_absences(before_at, limit)
            if gone:
                self._catalog.commit(lambda changes: _remove_entries(changes, gone))
        return len(gone)

    def count_expired_temps(self) -> int:
        return self._partials.count_expired()

    def expire_temps(self) -> int:
        """Remove what is kept to be resumed for too long; return how many."""
        return self._partials.expire()

    def shrink(self, to_bytes: int, step_bytes: int) -> bool:
        """Evict some, until no more than `to_bytes` are used; False: it is done, or cannot be."""
        with self._lock:
            over = self._budget.used_bytes - to_bytes
            return over > 0 and self._room.shrink(min(over, step_bytes))

    @property
    def used_bytes(self) -> int:
        return self._budget.used_bytes

    def _drop_unnamed(
        self, digests: Iterable[bytes], changes: Changes
    ) -> tuple[list[bytes], list[Removed]]:
        chosen = [
            blob.digest
            for blob in changes.let_go(digests)
            if not self._holds.is_held(blob.digest)  # it is about to be named again
        ]
        return chosen, drop_rows(changes, chosen)

    def _named_by_none_but(
        self, keys: Collection[str], digests: Iterable[bytes]
    ) -> dict[bytes, int]:
        """The blobs, and their coded forms, that only `keys` name, with their lengths."""
        index = self._catalog.index
        alone: dict[bytes, int] = {}
        for digest in digests:
            if any(key not in keys for key in index.keys_of(digest)):
                continue
            for each in (digest, *index.unneeded.forms_of(digest)):
                length = index.unneeded.length_of(each)
                if length is not None:
                    alone[each] = length
        return alone


def _remove_entries(changes: Changes, keys: Sequence[str]) -> None:
    for key in keys:
        changes.remove_entry(key)
