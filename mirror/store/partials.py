"""The directory of temps: begin or resume one, keep or drop it, sweep what a crash left.

Rules:
1. One flight per temp at a time.
2. A temp that can never be resumed has no record. A temp without a usable record, or untouched
   for `KEEP_S`, is swept at start; so is a record without a temp, and anything else there.
3. A kept temp counts in the byte budget by its size, and goes when its room is needed. One that
   is resumed counts by the flight's reservation instead.
4. One kept temp per key and digest: a flight that begins under another validator drops the other.

Units: bytes, seconds.
Runs in: keeper (any thread): a lock of its own, so that no flight begins behind a commit.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable

from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.store.budget import BLOB_OVERHEAD_BYTES, Budget, Reservation
from mirror.store.files import Files, disk_errors, unlink_if_there
from mirror.store.layout import RECORD_SUFFIX, Layout, key_digest
from mirror.store.leftovers import Leftovers
from mirror.store.partial import Partial, PartialState, Terms
from mirror.store.partial_record import Resumable, load_record, usable_prefix
from mirror.store.points import Point, passed

KEEP_S = 7 * 86400.0  # a release that nobody asked for again within a week is not worth its room


class Partials:
    """All temps of one store."""

    def __init__(
        self,
        *,
        files: Files,
        layout: Layout,
        budget: Budget,
        clock: Clock,
        boot: str,
        leftovers: Leftovers,
    ) -> None:
        self._leftovers = leftovers
        self._lock = threading.Lock()
        self._files = files
        self._layout = layout
        self._budget = budget
        self._clock = clock
        self._boot = boot
        self._active: set[str] = set()
        self._kept: dict[tuple[str, str], str] = {}  # key and digest -> name of the kept temp

    def may_resume(self, key: str, digest: bytes) -> bool:
        """Whether something is kept of `key` with this digest; `resumable` says what."""
        return (key, digest.hex()) in self._kept  # one look into a map needs no lock

    def resumable(self, key: str, digest: bytes) -> Resumable | None:
        """Return what is kept of `key` with this digest, as far as it counts; None: nothing."""
        with self._lock:
            name = self._kept.get((key, digest.hex()))
            if name is None or name in self._active:
                return None
            path = self._layout.partial(name)
            record = load_record(self._files, path)
            if record is None or not record.is_resumable:
                return None
            try:
                size = self._files.identify_path(path).size
            except OSError:
                return None
        landed = usable_prefix(record, size, self._boot)
        if not landed:
            return None
        return Resumable(validator=record.validator, length=record.length, landed=landed)

    def kept_bytes(self, key: str, digest: bytes) -> int:
        """Return what is counted for what is kept of `key` with this digest."""
        with self._lock:
            return self._budget.kept_of(self._kept.get((key, digest.hex()), ""))

    def begin(self, terms: Terms, reservation: Reservation) -> Partial:
        """Open or resume the temp for `terms`. Raises StoreError and frees the reservation."""
        name = _name(terms)
        with self._lock:
            if name in self._active:
                reservation.release()
                raise StoreError(terms.key, "is being filled already", retryable=False)
            self._active.add(name)
            self._drop_other(terms, name)
            kept_bytes = self._budget.kept_of(name)
        try:
            if not reservation.take_over(name):
                raise StoreError(terms.key, "no room in the byte budget")
            with disk_errors(self._layout.partial(name)):
                partial = self._resume(name, terms, reservation)
                if partial is None:
                    partial = self._create(name, terms, reservation)
                elif kept_bytes:
                    partial.inherit(kept_bytes - BLOB_OVERHEAD_BYTES)
        except BaseException:
            with self._lock:
                self._active.discard(name)
                if kept_bytes:
                    self._keep_found(name)
            reservation.release()
            raise
        return partial

    def let_go(self, partial: Partial, *, keep: bool) -> None:
        """End a flight's use of its temp; `keep` leaves it to be resumed when that is possible."""
        name = _name(partial.terms)
        partial.still()  # a slow disk holds up this flight, not who wants the lock
        with self._lock:
            landing = partial.state is PartialState.LANDING
            if landing and keep and partial.terms.is_resumable and partial.landed:
                partial.record_prefix()
                partial.reservation.keep(name, partial.held_bytes)
                partial.close()
                self._kept[(partial.terms.key, partial.terms.digest.hex())] = name
            elif landing:
                partial.discard()
            if partial.state is PartialState.FAILED:
                self._leftovers.remove(partial.path)
                self._leftovers.remove(partial.path + RECORD_SUFFIX)
            partial.close()
            self._active.discard(name)

    def published(self, partial: Partial) -> None:
        """End a flight whose content is a blob: its temp became that, or is left because the blob
        was here already."""
        partial.still()
        self._leftovers.remove(partial.path)
        self._leftovers.remove(partial.path + RECORD_SUFFIX)
        with self._lock:
            partial.close()
            self._active.discard(_name(partial.terms))

    def drop_kept(self, needed_bytes: int) -> None:
        """Remove kept temps, the one kept longest first, until `needed_bytes` are free."""
        goal = self._budget.kept_bytes - needed_bytes
        for name in self._budget.kept_partials():
            with self._lock:
                if self._budget.kept_bytes <= goal:
                    return
                if name not in self._active:
                    with disk_errors(self._layout.partial(name)):
                        self._remove(name)
                    self._budget.drop_kept(name)
                    self._forget(name)

    def drop_of(self, keys: Iterable[str]) -> None:
        """Remove what is kept of `keys`; what a flight has under way is left to it."""
        wanted = set(keys)
        with self._lock:
            names = [name for (key, _), name in self._kept.items() if key in wanted]
            self._drop_all(names)

    def count_expired(self) -> int:
        """Return how many `expire` would remove."""
        with self._lock:
            return sum(self._is_expired(name) for name in self._kept.values())

    def expire(self) -> int:
        """Remove what was kept longer than `KEEP_S` without being resumed; return how many."""
        with self._lock:
            names = [name for name in self._kept.values() if self._is_expired(name)]
            return self._drop_all(names)

    def _drop_all(self, names: Iterable[str]) -> int:
        idle = [name for name in names if name not in self._active]
        for name in idle:
            with contextlib.suppress(OSError):  # swept at the next start
                self._remove(name)
            self._budget.drop_kept(name)
            self._forget(name)
        return len(idle)

    def _is_expired(self, name: str) -> bool:
        record = load_record(self._files, self._layout.partial(name))
        return record is None or self._clock.now() - record.noted_at > KEEP_S

    def sweep(self) -> int:
        """Remove what cannot be resumed; return how many files went. Raises OSError."""
        names = self._files.list_directory(self._layout.partials)
        kept = [name for name in names if self._keep_found(name)]
        keeping = {*kept, *(name + RECORD_SUFFIX for name in kept)}
        swept = [name for name in names if name not in keeping]
        for name in swept:
            unlink_if_there(self._files, self._layout.partial(name))
        return len(swept)

    def _keep_found(self, name: str) -> bool:
        """Count a temp that can be resumed; False for anything else."""
        record = None if "." in name else load_record(self._files, self._layout.partial(name))
        if record is None or not record.is_resumable:
            return False
        if self._clock.now() - record.noted_at > KEEP_S:
            return False
        try:
            size = self._files.identify_path(self._layout.partial(name)).size
        except OSError:
            return False
        self._budget.keep(name, size)
        self._kept[(record.key, record.digest)] = name
        return True

    def _drop_other(self, terms: Terms, name: str) -> None:
        """Rule 4: bytes under a validator that upstream no longer has are of no use."""
        other = self._kept.pop((terms.key, terms.digest.hex()), name)
        if other != name and other not in self._active:
            self._leftovers.remove(self._layout.partial(other))
            self._leftovers.remove(self._layout.partial(other) + RECORD_SUFFIX)
            self._budget.drop_kept(other)

    def _forget(self, name: str) -> None:
        for term, kept in tuple(self._kept.items()):
            if kept == name:
                del self._kept[term]

    def _resume(self, name: str, terms: Terms, reservation: Reservation) -> Partial | None:
        path = self._layout.partial(name)
        record = load_record(self._files, path) if terms.is_resumable else None
        if record is None or (record.key, record.validator, record.length, record.digest) != (
            terms.key, terms.validator, terms.length, terms.digest.hex(),
        ):  # fmt: skip
            return None
        try:
            fd = self._files.resume(path)
        except OSError:
            return None
        partial = self._partial(path, fd, terms, reservation)
        try:
            size = self._files.identify(fd).size
            partial.take_prefix(usable_prefix(record, size, self._boot), record)
        except OSError:  # an unreadable prefix is no reason to fail: begin from the first byte
            partial.state = PartialState.CLOSED
            reservation.has_landed(0)
            self._files.close(fd)
            return None
        return partial

    def _create(self, name: str, terms: Terms, reservation: Reservation) -> Partial:
        path = self._layout.partial(name)
        self._remove(name)
        fd = self._files.create(path)
        for taken in (path, path + RECORD_SUFFIX):
            self._leftovers.taken(taken)
        partial = self._partial(path, fd, terms, reservation)
        try:
            if terms.is_resumable:
                partial.write_record()
        except OSError:
            partial.discard()
            for left in (path, path + RECORD_SUFFIX):
                self._leftovers.remove(left)
            partial.close()
            raise
        passed(Point.FILL_BEGUN)
        return partial

    def _partial(self, path: str, fd: int, terms: Terms, reservation: Reservation) -> Partial:
        return Partial(
            files=self._files, path=path, fd=fd, terms=terms, reservation=reservation,
            clock=self._clock, boot=self._boot,
        )  # fmt: skip

    def _remove(self, name: str) -> None:
        path = self._layout.partial(name)
        unlink_if_there(self._files, path)
        unlink_if_there(self._files, path + RECORD_SUFFIX)


def _name(terms: Terms) -> str:
    return key_digest(terms.key.encode(), terms.validator.encode(), terms.digest)
