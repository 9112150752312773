"""The door of this room for the keeper: everything that changes the store goes through `Store`.

Rules:
1. Content becomes visible only here, whole, under the digest of its bytes.
2. Every failure of disk or database is a StoreError; then no temp, no half-published blob and no
   reservation is left behind.
3. A process that dies between any two steps leaves the old state or the new one.
4. Memory does not grow with the number of entries.

Units: bytes, seconds. Digests are raw.
Does not: decide what is worth keeping, fetch, or judge freshness.
Runs in: keeper. Synchronous; safe from any of its threads. `publish`, `put_small`, `begin`,
`adopt`, `attest`, `Partial.write` and `Partial.note` wait for the disk: call them off the loop.
`index.lookup` and `vouched` do not wait for a writer, `reserve` only when it must evict, `adopt`
only when the blob is here.

Locks, in the order in which they may be taken: a hold on digests (`holds`), the store's lock (index
commits and what belongs to them), the one of the temps, the one of the budget. Files and
directories are synced under none but the first, except where something is withdrawn.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterable, Sequence

from mirror import config
from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.store.attesting import Attester
from mirror.store.budget import Budget, Reservation, footprint
from mirror.store.catalog import Catalog
from mirror.store.connections import DatabaseDamagedError
from mirror.store.entry import Entry, Stored
from mirror.store.eviction import EvictionPolicy, policy_in_force
from mirror.store.files import Files, disk_errors, unlink_if_there
from mirror.store.guarded_quarantine import GuardedQuarantine
from mirror.store.holds import Holds
from mirror.store.index import Index
from mirror.store.knowledge import Statement, pack
from mirror.store.layout import Layout
from mirror.store.owner import Ownership, claim
from mirror.store.page import SharedPage
from mirror.store.partial import Partial, Resumable, Terms
from mirror.store.partials import Partials
from mirror.store.publishing import Arrival, Publisher, require_content
from mirror.store.quarantine import Quarantine, Reason
from mirror.store.recovery import boot_id, note_clean, open_index, rescan, settle
from mirror.store.room import Room
from mirror.store.small_temps import SmallTemps
from mirror.store.tally import NoTally, StoreTally
from mirror.store.variants import Variants


class Store:
    """An open store, owned by this process. Open it with `Store.open`."""

    def __init__(
        self,
        *,
        settings: config.Store,
        files: Files,
        layout: Layout,
        clock: Clock,
        page: SharedPage | None,
        log: EventLog | None,
        policy: EvictionPolicy,
        ownership: Ownership,
        index: Index,
        boot: str,
        tally: StoreTally,
    ) -> None:
        self._files = files
        self._layout = layout
        self._clock = clock
        self._log = log
        self._ownership = ownership
        self._lock = threading.RLock()
        self._budget = Budget(settings.budget)
        self._holds = Holds(clock)
        self._quarantine = Quarantine(
            files, layout, settings.quarantine_budget, settings.quarantine_keep, tally
        )
        self.quarantined = GuardedQuarantine(
            self._quarantine, lock=self._lock, clock=clock, log=log
        )
        self._catalog = Catalog(
            index=index, files=files, layout=layout, budget=self._budget, clock=clock, page=page,
            log=log,
        )  # fmt: skip
        self._partials = Partials(
            files=files, layout=layout, budget=self._budget, clock=clock, boot=boot
        )
        self._small = SmallTemps(files, layout)
        self._publisher = Publisher(self._catalog, self._lock, tally)
        self._room = Room(
            catalog=self._catalog, partials=self._partials, holds=self._holds, policy=policy,
            files=files, path=layout.root, lock=self._lock, tally=tally,
        )  # fmt: skip
        self._attester = Attester(
            catalog=self._catalog, holds=self._holds, quarantine=self._quarantine, layout=layout,
            clock=clock, lock=self._lock, log=log,
        )  # fmt: skip
        self.variants = Variants(
            catalog=self._catalog, holds=self._holds, temps=self._small, publisher=self._publisher,
            attester=self._attester, reserve=self._promise, is_here=self._is_here,
        )  # fmt: skip

    @classmethod
    def open(
        cls,
        store: config.Store,
        state: config.State,
        files: Files,
        clock: Clock,
        page: SharedPage | None,
        *,
        log: EventLog | None = None,
        policy: EvictionPolicy | None = None,
        tally: StoreTally | None = None,
    ) -> Store:
        """Claim the store, recover it, and return it open.

        Raises: StoreError when another running mirror owns it, when its format is another one, or
        when disk or database fail.
        """
        layout = Layout(root=store.path)
        with contextlib.ExitStack() as on_failure:
            ownership = claim(files, layout, state.path)
            on_failure.callback(ownership.release)
            boot = boot_id(files)
            index, must_scan = open_index(files, layout, boot)
            opened = cls(
                settings=store, files=files, layout=layout, clock=clock, page=page, log=log,
                policy=policy or policy_in_force(), ownership=ownership, index=index, boot=boot,
                tally=tally or NoTally(),
            )  # fmt: skip
            # A rebuild replaces the index.
            on_failure.callback(lambda: opened.index.close())  # noqa: PLW0108
            opened._recover(must_scan, boot)
            on_failure.pop_all()
        return opened

    def _recover(self, must_scan: bool, boot: str) -> None:
        catalog = self._catalog
        if must_scan:
            found = rescan(catalog.index, catalog.blobs, catalog.heads)
            self._info("index-rescanned", blobs=found)
        try:
            settle(catalog.index, catalog.blobs, boot)
            self._budget.store(catalog.index.blob_bytes())
        except DatabaseDamagedError:
            catalog.rebuild()
            settle(catalog.index, catalog.blobs, boot)
        with disk_errors(self._layout.partials):
            swept = self._partials.sweep()
        with disk_errors(self._layout.quarantine):
            self._quarantine.load()
        self.quarantined.expire()
        if must_scan:
            catalog.announce_index()
        if swept:
            self._info("temps-swept", files=swept)

    @property
    def index(self) -> Index:
        """The index to look keys up in; ask for it each time, a rebuild replaces it."""
        return self._catalog.index

    @property
    def used_bytes(self) -> int:
        return self._budget.used_bytes

    @property
    def budget_bytes(self) -> int:
        return self._budget.budget_bytes

    def lookup(self, key: str) -> Stored | None:
        """Return what `key` names."""
        return self._catalog.index.lookup(key)

    def blob_path(self, digest: bytes) -> str:
        """Return where the blob of `digest` is, or will be once published."""
        return self._layout.blob(digest)

    def reserve(self, nbytes: int, resuming: tuple[str, bytes] | None = None) -> Reservation | None:
        """Promise `nbytes` of the budget, evicting for them; None: let the body pass through.

        What is kept of the key and digest that are `resuming` is part of them, and counts once.
        """
        kept_bytes = 0 if resuming is None else self._partials.kept_bytes(*resuming)
        return self._promise(nbytes, max(0, footprint(nbytes) - kept_bytes))

    def resumable(self, key: str, digest: bytes) -> Resumable | None:
        """Return how much of `key` with this digest an earlier flight left. Advice: no hash yet."""
        return self._partials.resumable(key, digest)

    def begin(
        self, key: str, *, digest: bytes, validator: str, length: int, reservation: Reservation
    ) -> Partial:
        """Open the temp of a flight, or resume one that was kept or that a crash left.

        `digest` b"": not known beforehand; `length` -1: unknown; only a strong `validator` and a
        known length resume. The partial owns the reservation from here on. Hashes what it resumes.

        Raises: StoreError, with the reservation freed.
        """
        terms = Terms(key=key, validator=validator, length=length, digest=digest)
        return self._partials.begin(terms, reservation)

    def publish(self, partial: Partial, entries: Sequence[Entry]) -> list[Stored]:
        """Make the partial a blob and name it, in one step for every reader.

        The digest of what landed must be the one that `entries` state: verification came before.

        Raises: StoreError, with the temp removed and the reservation freed.
        """
        digest, length = partial.digest(), partial.landed
        with self._holds.holding((digest,)):
            try:
                require_content(entries, digest, length)
                partial.sync()
                arrival = Arrival(temp_path=partial.path, digest=digest, length=length)
                stored = self._place([arrival], entries, (), partial.reservation)
                self._partials.published(partial)
            except BaseException:
                self._partials.let_go(partial, keep=False)
                raise
        return stored

    def put_small(
        self, items: Sequence[tuple[Entry, bytes]], records: Sequence[Entry] = ()
    ) -> list[Stored]:
        """Publish small objects, and `records` with them (see `record`): one commit, so that a
        generation switches at once, a signature that it lacks included.

        Returns one value per item, in order.

        Raises: StoreError, with nothing of it published.
        """
        if not items:
            self.record(records)
            return []
        for entry, content in items:
            require_content([entry], hashlib.sha256(content).digest(), len(content))
        contents = {entry.digest: content for entry, content in items}
        with self._holds.holding(contents):
            absent = {d: content for d, content in contents.items() if not self._is_here(d)}
            lengths = [len(content) for content in absent.values()]
            reservation = self._promise(sum(lengths), sum(map(footprint, lengths)))
            if reservation is None:
                raise StoreError(items[0][0].key, "no room in the byte budget")
            try:
                with self._small.written(absent) as arrivals:
                    entries = [entry for entry, _ in items]
                    return self._place(arrivals, entries, records, reservation)
            finally:
                reservation.release()

    def record(self, entries: Sequence[Entry]) -> list[Stored]:
        """Write metadata only: refreshed times, negative answers.

        Returns what the index then holds; an entry whose blob was evicted meanwhile is not in it.
        Raises: StoreError.
        """
        if not entries:
            return []
        with self._lock:
            known = self._catalog.record(entries)
        self.quarantined.confirmed(known)
        return known

    def withdraw(self, keys: Iterable[str]) -> None:
        """Remove entries for good: durable, and every worker drops what it holds of them.

        Their blobs stay until room is needed. Raises: StoreError.
        """
        with self._lock:
            self._catalog.withdraw(list(keys))

    def adopt(self, digest: bytes, entry: Entry) -> Stored | None:
        """Name a blob that is here already, after a whole hash: no download.

        None when there is none, or the file is not what its name says (then it is quarantined).
        Raises: StoreError.
        """
        adopted = self._attester.adopt(digest, entry)
        self.quarantined.stored([adopted] if adopted else [])
        return adopted

    def attest(self, stored: Stored) -> Stored | None:
        """Hash the blob again and vouch for it anew; None when it is gone or was quarantined.

        Raises: StoreError.
        """
        return self._attester.attest(stored)

    def abandon(self, partial: Partial, keep: bool) -> None:
        """End a flight without publishing; `keep` leaves what landed to be resumed. Idempotent."""
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
        self.quarantined.take(partial.path, record)
        self._partials.let_go(partial, keep=False)

    def touch(self, keys: Iterable[str]) -> None:
        """Note that `keys` were served. Recency is advice: a failure is not reported."""
        with self._lock, contextlib.suppress(StoreError):
            now_ms = self._catalog.now_ms()
            known = list(keys)
            self._catalog.commit(lambda changes: changes.touch(known, now_ms))

    def vouch(self, manifest: Entry, pairs: Iterable[tuple[str, bytes]]) -> None:
        """Remember what a verified manifest states, by upstream path, while it is stored.

        Raises: StoreError.
        """
        records = pack(dict(pairs), manifest.key)
        with self._lock:
            self._catalog.commit(lambda changes: changes.vouch(manifest, records))
            self._catalog.index.forget_packed()

    def vouched(self, path: str) -> Statement | None:
        """Return what a stored manifest states about `path`. Raises StoreError."""
        return self._catalog.index.vouched(path)

    def manifest_read(self, key: str) -> bytes | None:
        """Return the digest of the manifest that `key` names, if it was read. Raises StoreError."""
        return self._catalog.index.manifest_read(key)

    def entries_of_prefix(self, prefix: str) -> list[Entry]:
        """Return the entries of blobs whose key begins with `prefix`, sorted by key.

        Raises: StoreError.
        """
        return self._catalog.index.entries_of_prefix(prefix)

    def close(self) -> None:
        """Give the store back. Flights must have let go of their partials."""
        with self._lock:
            with contextlib.suppress(StoreError):  # then the next start looks closer
                note_clean(self._catalog.index)
            self._catalog.index.close()
            self._ownership.release()

    def __repr__(self) -> str:
        return f"<Store {self._layout.root} {self._budget!r}>"

    def _promise(self, nbytes: int, cost_bytes: int) -> Reservation | None:
        try:
            if cost_bytes and not self._room.take(cost_bytes):
                return None
        except StoreError as exc:
            # A store that cannot evict must not stop a body that could pass through.
            self._warn("no-room", reason=exc.message)
            return None
        return Reservation(self._budget, nbytes, cost_bytes, self._room.take)

    def _place(
        self,
        arrivals: Sequence[Arrival],
        entries: Sequence[Entry],
        records: Sequence[Entry],
        reservation: Reservation,
    ) -> list[Stored]:
        """Publish; a blob that is here keeps its file, so that attestations handed out hold."""
        absent = [arrival for arrival in arrivals if not self._is_here(arrival.digest)]
        stored = self._publisher.place(absent, entries, records, reservation)
        for arrival in arrivals:
            if arrival not in absent:
                with contextlib.suppress(OSError):  # swept at the next start
                    unlink_if_there(self._files, arrival.temp_path)
        self.quarantined.stored(stored)
        return stored

    def _is_here(self, digest: bytes) -> bool:
        """Say whether the blob is stored and still the attested file; its holder asks."""
        with self._lock:
            attestation = self._catalog.read(lambda index: index.attestation(digest))
            return attestation is not None and attestation == self._catalog.blobs.identify(digest)

    def _info(self, event: str, **fields: object) -> None:
        if self._log is not None:
            self._log.info(event, **fields)

    def _warn(self, event: str, **fields: object) -> None:
        if self._log is not None:
            self._log.warning(event, **fields)
