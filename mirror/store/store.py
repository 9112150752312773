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
from collections.abc import Iterable, Sequence

from mirror import config
from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.store.budget import Reservation
from mirror.store.connections import DatabaseDamagedError
from mirror.store.entry import Entry, Stored
from mirror.store.eviction import EvictionPolicy, policy_in_force
from mirror.store.files import Files, disk_errors
from mirror.store.index import Index
from mirror.store.knowledge import Statement, pack
from mirror.store.layout import Layout
from mirror.store.owner import Ownership, claim
from mirror.store.page import SharedPage
from mirror.store.partial import Partial, Terms
from mirror.store.partial_record import Resumable
from mirror.store.recovery import Need, boot_id, note_clean, open_index, settle
from mirror.store.tally import NoTally, StoreTally
from mirror.store.workings import Given, Workings

_TRUST_MARK = "trust-mark"


class Store:
    """An open store, owned by this process. Open it with `Store.open`."""

    def __init__(self, given: Given, ownership: Ownership) -> None:
        self._layout = given.layout
        self._log = given.log
        self._ownership = ownership
        parts = Workings(given)
        self._lock = parts.lock
        self._budget = parts.budget
        self._quarantine = parts.quarantine
        self._catalog = parts.catalog
        self._partials = parts.partials
        self._attester = parts.attester
        self._room = parts.room
        self._intake = parts.intake
        self.trouble = parts.trouble
        self.quarantined = parts.quarantined
        self.probe = parts.probe
        self.repair = parts.repair
        self.variants = parts.variants
        self.purger = parts.purger
        self.scrubber = parts.scrubber
        self._catalog.on_rebuilt = self._rebuilt
        self._repairs_later = False

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
        repairs_later: bool = False,
    ) -> Store:
        """Claim the store, recover it, and return it open.

        `repairs_later`: what takes longer is left to who calls `repair.run`, also when the index
        is found damaged later; else it is done before this, or the call that finds it, returns.

        Raises: StoreError when another running mirror owns it, when its format is another one, or
        when disk or database fail.
        """
        layout = Layout(root=store.path)
        with contextlib.ExitStack() as on_failure:
            ownership = claim(files, layout, state.path)
            on_failure.callback(ownership.release)
            boot = boot_id(files)
            index, need = open_index(files, layout, boot)
            given = Given(
                settings=store, files=files, layout=layout, clock=clock, page=page, log=log,
                policy=policy or policy_in_force(), index=index, boot=boot,
                tally=tally or NoTally(),
            )  # fmt: skip
            opened = cls(given, ownership)
            # A rebuild replaces the index.
            on_failure.callback(lambda: opened.index.close())  # noqa: PLW0108
            opened._recover(need, repairs_later=repairs_later)
            on_failure.pop_all()
        return opened

    def _recover(self, need: Need, *, repairs_later: bool) -> None:
        catalog = self._catalog
        self._repairs_later = True  # not in the midst of this
        try:
            self._settle(need)
        except DatabaseDamagedError:
            catalog.rebuild()  # which begins a rescan
            need = Need.RESCAN
        with disk_errors(self._layout.partials):
            swept = self._partials.sweep()
        with disk_errors(self._layout.quarantine):
            self._quarantine.load()
        self.quarantined.expire()
        # Always: an index that is made where there was none is another file too, and the keeper
        # before may have died between a withdrawal's commit and its epoch.
        catalog.announce_index()
        if swept:
            self._info("temps-swept", files=swept)
        self._repairs_later = repairs_later
        if not repairs_later:
            self.repair.run()

    def _settle(self, need: Need) -> None:
        settle(self._catalog.index, self._catalog.blobs)
        if need is Need.NOTHING:
            self._budget.store(self._catalog.index.blob_bytes())
        self.repair.begin(need)

    def _rebuilt(self) -> None:
        self.repair.begin(Need.RESCAN)
        if not self._repairs_later and not self.repair.is_running:
            self.repair.run()

    @property
    def index(self) -> Index:
        """The index to look keys up in; ask for it each time, a rebuild replaces it."""
        return self._catalog.index

    @property
    def has_objects(self) -> bool:
        """Whether something is stored, as far as that is known. Raises StoreError."""
        return self.repair.is_open or bool(self._catalog.index.blobs_after(b"", 1))

    @property
    def used_bytes(self) -> int:
        return self._budget.used_bytes

    @property
    def budget_bytes(self) -> int:
        return self._budget.budget_bytes

    def lookup(self, key: str) -> Stored | None:
        """Return what `key` names; what a lost index does not know yet, `heads/` may."""
        return self._catalog.index.lookup(key) or self.repair.recover(key)

    def blob_path(self, digest: bytes) -> str:
        """Return where the blob of `digest` is, or will be once published."""
        return self._layout.blob(digest)

    def reserve(self, nbytes: int, resuming: tuple[str, bytes] | None = None) -> Reservation | None:
        """Promise `nbytes` of the budget, evicting for them; None: let the body pass through.

        What is kept of the key and digest that are `resuming` is part of them, and counts once.
        """
        return self._intake.reserve(nbytes, resuming)

    def may_resume(self, key: str, digest: bytes) -> bool:
        """Whether something of a body is kept; without a look at the disk."""
        return self._partials.may_resume(key, digest)

    def resumable(self, key: str, digest: bytes) -> Resumable | None:
        """Return how much of `key` with this digest an earlier flight left. Advice: no hash yet."""
        return self._intake.resumable(key, digest)

    def begin(
        self, key: str, *, digest: bytes, validator: str, length: int, reservation: Reservation
    ) -> Partial:
        """Open the temp of a flight, or resume one that was kept or that a crash left.

        `digest` b"": not known beforehand; `length` -1: unknown; only a strong `validator` and a
        known length resume. The partial owns the reservation from here on. What it resumes is
        hashed later, in steps (`Partial.absorb`).

        Raises: StoreError, with the reservation freed.
        """
        terms = Terms(key=key, validator=validator, length=length, digest=digest)
        return self._intake.begin(terms, reservation)

    def publish(self, partial: Partial, entries: Sequence[Entry]) -> list[Stored]:
        """Make the partial a blob and name it, in one step for every reader.

        The digest of what landed must be the one that `entries` state: verification came before.

        Raises: StoreError, with the temp removed and the reservation freed.
        """
        return self._intake.publish(partial, entries)

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
        return self._intake.put_small(items, records)

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
        self._intake.abandon(partial, keep=keep)

    def quarantine(self, partial: Partial, reason: str) -> None:
        """Move what landed out of the way, with its reason beside it, and end the flight."""
        self._intake.quarantine(partial, reason)

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

    def recover_all(self) -> None:
        """Read every record that is still to be read; reading files by name goes on as before.

        Raises: StoreError.
        """
        self.repair.recover_all()

    def trust_mark(self) -> str:
        """Return what `note_trust_mark` last kept, "" in another index. Raises StoreError."""
        return self._catalog.index.fact(_TRUST_MARK)

    def note_trust_mark(self, mark: str) -> None:
        """Keep by which rules all that is stored was judged. Raises StoreError."""
        with self._lock:
            self._catalog.commit(lambda changes: changes.set_fact(_TRUST_MARK, mark))

    def close(self) -> None:
        """Give the store back. Flights must have let go of their partials."""
        self.repair.close()
        with self._lock:
            with contextlib.suppress(StoreError):  # then the next start looks closer
                note_clean(self._catalog.index)
            self._catalog.index.close()
            self._ownership.release()

    def __repr__(self) -> str:
        return f"<Store {self._layout.root} {self._budget!r}>"

    def _info(self, event: str, **fields: object) -> None:
        if self._log is not None:
            self._log.info(event, **fields)
