"""`purge` and `gc` as they are asked for: what would go, and then letting it go, step by step.

Rules:
1. Looking changes nothing. Doing it again after a failure finishes what was begun.
2. Of a channel's three files and the generation before all go together, or none: they are served
   together.
3. Each step is short; between steps others get the store. `progress` is told after each.

Units: bytes as footprints; Unix seconds.
Does not: wait until workers know, or ask for permission.
Runs in: keeper (a thread) and commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mirror.clock import Clock
from mirror.fill.channel_files import channel_files
from mirror.route.match import route_of_key
from mirror.store.entry import current_key, former_key
from mirror.store.purging import STEP_KEYS, Named
from mirror.store.unneeded import UnneededBlob

STEP_BYTES: Final = 256 << 20  # of eviction
PAGE_BLOBS: Final = 500

Progress = Callable[[int], None]


class PurgeStore(Protocol):
    """`store.purging.Purger`."""

    def recover_all(self) -> None:
        """Read what a lost index left to be read: then keys are known."""

    def require_repaired(self) -> None:
        """Raises StoreError while the index is being made anew: what seems unnamed may have a name,
        and what is used is not counted."""

    def named(self, keys: Iterable[str]) -> Named: ...

    def keys_of_prefix(self, prefix: str, after: str, limit: int) -> list[str]: ...

    def purge(self, keys: Sequence[str]) -> Named: ...

    def unnamed(self, after: bytes, limit: int) -> list[UnneededBlob]: ...

    def remove_unnamed(self, digests: Sequence[bytes]) -> int: ...

    def count_ended_absences(self, before_at: float) -> int: ...

    def forget_absences(self, before_at: float, limit: int) -> int: ...

    def count_expired_temps(self) -> int: ...

    def expire_temps(self) -> int: ...

    def shrink(self, to_bytes: int, step_bytes: int) -> bool: ...

    @property
    def used_bytes(self) -> int: ...


class QuarantineDoor(Protocol):
    """`store.guarded_quarantine.GuardedQuarantine`."""

    def count_expired(self) -> int: ...

    def expire(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeWish:
    """Of each of `names`, the keys that it can mean, the likeliest first, the first one that is
    stored goes; of `prefixes` of keys everything."""

    names: tuple[tuple[str, ...], ...] = ()
    prefixes: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class PurgeSums:
    """What goes, or went. What several steps of a prefix share is counted by the last of them."""

    keys: int = 0
    absences: int = 0
    blobs: int = 0
    freed_bytes: int = 0

    def add(self, named: Named) -> None:
        self.keys += len(named.keys)
        self.absences += named.absences
        self.blobs += named.blobs
        self.freed_bytes += named.freed_bytes


@dataclass(slots=True, kw_only=True)
class GcSums:
    """What goes, or went, by kind; `evicted_bytes` when a size was asked for."""

    unnamed_blobs: int = 0
    unnamed_bytes: int = 0
    temps: int = 0
    quarantined: int = 0
    absences: int = 0
    evicted_bytes: int = 0
    used_bytes: int = 0  # afterwards; of a dry run: before


class Purge:
    """One purge: `look`, then `carry_out`. Both raise StoreError."""

    def __init__(self, store: PurgeStore, wish: PurgeWish) -> None:
        self._store = store
        self._wish = wish

    def look(self) -> PurgeSums:
        self._store.recover_all()
        sums = PurgeSums()
        for keys in self._steps():
            sums.add(self._store.named(keys))
        return sums

    def carry_out(self, progress: Progress) -> PurgeSums:
        """Purge; `progress` gets the number of keys after each step."""
        self._store.recover_all()
        sums = PurgeSums()
        for keys in self._steps():
            sums.add(self._store.purge(keys))
            progress(sums.keys)
        return sums

    def _meant(self, names: tuple[str, ...]) -> str:
        return next((key for key in names if self._store.named((key,)).keys), "")

    def _steps(self) -> Iterator[list[str]]:
        keys = [key for names in self._wish.names if (key := self._meant(names))]
        for at in range(0, len(keys), STEP_KEYS):
            yield with_generations(keys[at : at + STEP_KEYS])
        for prefix in self._wish.prefixes:
            last = ""
            while page := self._store.keys_of_prefix(prefix, last, STEP_KEYS):
                yield with_generations(page)
                last = page[-1]


class Gc:
    """One collection: `look`, then `carry_out`. Both raise StoreError."""

    def __init__(
        self, store: PurgeStore, quarantine: QuarantineDoor, clock: Clock, to_bytes: int | None
    ) -> None:
        self._store = store
        self._quarantine = quarantine
        self._clock = clock
        self._to_bytes = to_bytes

    def look(self) -> GcSums:
        self._store.require_repaired()
        sums = GcSums(used_bytes=self._store.used_bytes)
        for page in self._unnamed():
            sums.unnamed_blobs += len(page)
            sums.unnamed_bytes += sum(blob.freed_bytes for blob in page)
        sums.temps = self._store.count_expired_temps()
        sums.quarantined = self._quarantine.count_expired()
        sums.absences = self._store.count_ended_absences(self._clock.now())
        if self._to_bytes is not None:
            left_bytes = sums.used_bytes - sums.unnamed_bytes
            sums.evicted_bytes = max(0, left_bytes - self._to_bytes)
        return sums

    def carry_out(self, progress: Progress) -> GcSums:
        """Collect; `progress` gets the bytes freed so far."""
        self._store.require_repaired()
        sums = GcSums()
        began_bytes = self._store.used_bytes

        def tell() -> None:
            progress(max(0, began_bytes - self._store.used_bytes))

        for page in self._unnamed():
            sums.unnamed_bytes += self._store.remove_unnamed([blob.digest for blob in page])
            sums.unnamed_blobs += len(page)
            tell()
        sums.temps = self._store.expire_temps()
        sums.quarantined = self._quarantine.expire()
        now = self._clock.now()
        while count := self._store.forget_absences(now, STEP_KEYS):
            sums.absences += count
        if self._to_bytes is not None:
            before_bytes = self._store.used_bytes
            while self._store.shrink(self._to_bytes, STEP_BYTES):
                tell()
            sums.evicted_bytes = max(0, before_bytes - self._store.used_bytes)
        sums.used_bytes = self._store.used_bytes
        return sums

    def _unnamed(self) -> Iterator[list[UnneededBlob]]:
        last = b""
        while page := self._store.unnamed(last, PAGE_BLOBS):
            last = page[-1].digest
            yield page


def with_generations(keys: Iterable[str]) -> list[str]:
    """Return the keys with those that must go with them (rule 2), each once."""
    wanted: dict[str, None] = {}
    for key in keys:
        wanted[key] = None
        route = route_of_key(current_key(key))
        files = None if route is None else channel_files(route)
        for member in () if files is None else files.keys:
            wanted[member] = wanted[former_key(member)] = None
    return list(wanted)
