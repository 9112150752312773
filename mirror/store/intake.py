"""What comes into the store: room promised, temps begun, verified content handed to the publisher.

Rules:
1. Content is placed only when its digest is the one that its entries state.
2. A blob that is here keeps its file, so that attestations handed out hold.
3. Whatever fails, no temp, no half-published blob and no reservation is left behind.

Units: bytes. Digests are raw.
Does not: decide what is worth keeping, or judge freshness.
Runs in: keeper (any thread).
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.store.budget import Budget, Reservation, footprint
from mirror.store.catalog import Catalog
from mirror.store.classes import OTHER, class_of_key
from mirror.store.entry import Entry, Stored
from mirror.store.guarded_quarantine import GuardedQuarantine
from mirror.store.holds import Holds
from mirror.store.partial import Partial, Terms
from mirror.store.partial_record import Resumable
from mirror.store.partials import Partials
from mirror.store.points import Point, passed
from mirror.store.publishing import Arrival, Publisher, require_content
from mirror.store.quarantine import Reason
from mirror.store.room import Room
from mirror.store.small_temps import SmallTemps
from mirror.store.trouble import StoreTrouble


class Intake:
    """Takes content into one store."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        budget: Budget,
        holds: Holds,
        room: Room,
        partials: Partials,
        small: SmallTemps,
        publisher: Publisher,
        quarantined: GuardedQuarantine,
        clock: Clock,
        lock: threading.RLock,
        log: EventLog | None,
        trouble: StoreTrouble,
    ) -> None:
        self._catalog = catalog
        self._budget = budget
        self._holds = holds
        self._room = room
        self._partials = partials
        self._small = small
        self._publisher = publisher
        self._quarantined = quarantined
        self._clock = clock
        self._lock = lock
        self._log = log
        self._trouble = trouble

    def reserve(self, nbytes: int, resuming: tuple[str, bytes] | None) -> Reservation | None:
        """Promise `nbytes`; what is kept of `resuming` is part of them, and counts once."""
        kept_bytes = 0 if resuming is None else self._partials.kept_bytes(*resuming)
        content_class = OTHER if resuming is None else class_of_key(resuming[0])
        return self.promise(nbytes, max(0, footprint(nbytes) - kept_bytes), content_class)

    def promise(
        self, nbytes: int, cost_bytes: int, content_class: int = OTHER
    ) -> Reservation | None:
        """Promise `nbytes` that take `cost_bytes` more than what is counted; None: no room."""
        take = partial(self._room.take, content_class=content_class)
        try:
            if cost_bytes and not take(cost_bytes):
                return None
        except StoreError as exc:
            # A store that cannot evict must not stop a body that could pass through.
            self._trouble.met(exc)
            if self._log is not None and exc.trouble is None:
                self._log.warning("no-room", reason=exc.message)
            return None
        return Reservation(self._budget, nbytes, cost_bytes, take, content_class)

    def resumable(self, key: str, digest: bytes) -> Resumable | None:
        return self._partials.resumable(key, digest)

    def begin(self, terms: Terms, reservation: Reservation) -> Partial:
        """Open or resume the temp for `terms`. Raises StoreError and frees the reservation."""
        return self._partials.begin(terms, reservation)

    def publish(self, partial: Partial, entries: Sequence[Entry]) -> list[Stored]:
        """Make the partial a blob and name it. Raises StoreError, with nothing left behind."""
        digest, length = partial.digest(), partial.landed
        with self._holds.holding((digest,)):
            try:
                require_content(entries, digest, length)
                passed(Point.FILL_LANDED)
                partial.sync()
                arrival = Arrival(temp_path=partial.path, digest=digest, length=length)
                stored = self._place([arrival], entries, (), partial.reservation)
                self._partials.published(partial)
            except BaseException:
                self._partials.let_go(partial, keep=False)
                raise
        return stored

    def put_small(
        self, items: Sequence[tuple[Entry, bytes]], records: Sequence[Entry]
    ) -> list[Stored]:
        """Publish small objects, and `records` with them. Raises StoreError; then none of it."""
        for entry, content in items:
            require_content([entry], hashlib.sha256(content).digest(), len(content))
        contents = {entry.digest: content for entry, content in items}
        with self._holds.holding(contents):
            absent = {d: content for d, content in contents.items() if not self.is_here(d)}
            entries = [entry for entry, _ in items]
            with (
                self._promised(absent, entries) as reservation,
                self._small.written(absent) as arrivals,
            ):
                return self._place(arrivals, entries, records, reservation)

    def abandon(self, partial: Partial, *, keep: bool) -> None:
        self._partials.let_go(partial, keep=keep)

    def quarantine(self, partial: Partial, reason: str) -> None:
        """Move what landed out of the way, with its reason beside it, and end the flight."""
        record = Reason(
            keys=(partial.key,),
            expected=partial.terms.digest.hex(),
            got=partial.digest().hex(),
            length=partial.landed,
            reason=reason,
            at=self._clock.now(),
        )
        self._quarantined.take(partial.path, record)
        self._partials.let_go(partial, keep=False)

    def is_here(self, digest: bytes) -> bool:
        """Say whether the blob is stored and still the attested file; its holder asks."""
        with self._lock:
            attestation = self._catalog.read(lambda index: index.attestation(digest))
            return attestation is not None and attestation == self._catalog.blobs.identify(digest)

    @contextlib.contextmanager
    def _promised(
        self, contents: Mapping[bytes, bytes], entries: Sequence[Entry]
    ) -> Iterator[Reservation]:
        """Hold room for contents of any classes; yield the promise that is exchanged for them.

        Raises: StoreError.
        """
        classes = {entry.digest: class_of_key(entry.key) for entry in reversed(entries)}
        lengths: dict[int, list[int]] = {classes[entries[0].digest]: []}
        for digest, content in contents.items():
            lengths.setdefault(classes[digest], []).append(len(content))
        with contextlib.ExitStack() as held:
            promises: list[Reservation] = []
            for content_class, each in lengths.items():
                cost_bytes = sum(map(footprint, each))
                promise = self.promise(sum(each), cost_bytes, content_class)
                if promise is None:
                    ailment = self._trouble.ailment
                    kind = None if ailment is None else ailment.kind
                    raise StoreError(entries[0].key, "no room in the byte budget", trouble=kind)
                promises.append(held.enter_context(promise))
            yield promises[0]

    def _place(
        self,
        arrivals: Sequence[Arrival],
        entries: Sequence[Entry],
        records: Sequence[Entry],
        reservation: Reservation,
    ) -> list[Stored]:
        absent = [arrival for arrival in arrivals if not self.is_here(arrival.digest)]
        stored = self._publisher.place(absent, entries, records, reservation)
        self._quarantined.stored(stored)
        return stored
