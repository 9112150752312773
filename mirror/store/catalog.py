"""Changes of metadata with all that hangs on them: heads, epoch, budget, repair.

Rules:
1. Heads are written before the commit that names their blob, and removed before the commit that
   withdraws it: a rescan may know less than the index did, never more.
2. The epoch moves after the commit, and only when something that was served may no longer be.
3. A damaged index is rebuilt by the first change after somebody met the damage; a look-up that
   meets it is a miss.

Sequences, with the crash points that follow each step:
- `record`: heads (record.headed); one commit (record.committed); the epoch where it must. A crash
  between the two leaves heads that name another blob than the index does: the index holds.
- `withdraw`: heads gone, durable (purge.beheaded); rows gone, durable (purge.committed); the epoch
  (purge.told). Acknowledged after the last. A crash before the commit leaves the entries, without
  what would bring them back after a lost index.

Runs in: keeper; callers hold the store's lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.store.blobs import BlobFiles
from mirror.store.budget import Budget
from mirror.store.changes import Changes, Removed
from mirror.store.connections import DatabaseDamagedError
from mirror.store.entry import GENERATION_PROOFS, Entry, Stored
from mirror.store.files import Files, disk_errors
from mirror.store.heads import (
    Heads,
    group_of,
    is_same_representation,
    needs_head,
)
from mirror.store.index import Index
from mirror.store.layout import Layout
from mirror.store.page import SharedPage
from mirror.store.points import Point, passed
from mirror.store.recovery import discard_index

T = TypeVar("T")
# An absence is worth remembering a while after its freshness: it may still be served as stale.
_ABSENCE_KEPT_S = 3600.0
# At least twice as many as come are removed, so that a flood of them is gone as fast as it came.
_ABSENCES_PER_STEP = 16
# About 5 MB of index. A client looking for a nightly was seen to ask for 8,068 dates that have no
# manifest; beyond this whoever asks is not looking for something.
ABSENCES_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a transaction wrote, in the order given; `moves_epoch` is for after its commit."""

    stored: list[Stored]
    moves_epoch: bool


class Catalog:
    """The index of one store, kept in step with its heads and the epoch."""

    def __init__(
        self,
        *,
        index: Index,
        files: Files,
        layout: Layout,
        budget: Budget,
        clock: Clock,
        page: SharedPage | None,
        log: EventLog | None,
    ) -> None:
        self.index = index
        self.blobs = BlobFiles(files, layout)
        self.heads = Heads(files, layout)
        self.budget = budget
        self.on_rebuilt: Callable[[], None] = lambda: None
        self._files = files
        self._layout = layout
        self._clock = clock
        self._page = page
        self._log = log

    def now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    def commit(self, change: Callable[[Changes], T], *, durable: bool = False) -> T:
        """Run `change` in one transaction; it may run twice. Raises StoreError."""
        if self.index.is_damaged:  # a reader met it, or the last rebuild was not finished
            self.rebuild()
        try:
            with self.index.changing(durable=durable) as changes:
                return change(changes)
        except DatabaseDamagedError:
            self.rebuild()
        with self.index.changing(durable=durable) as changes:
            return change(changes)

    def read(self, ask: Callable[[Index], T]) -> T:
        """Ask the index; a damaged one is rebuilt first. Raises StoreError."""
        if self.index.is_damaged:
            self.rebuild()
        try:
            return ask(self.index)
        except DatabaseDamagedError:
            self.rebuild()
        return ask(self.index)

    def record(self, entries: Sequence[Entry]) -> list[Stored]:
        """Write entries whose blobs are stored, and absences; return what is then known."""
        self.prepare_heads(self.moved(entries))
        passed(Point.RECORD_HEADED)
        written = self.commit(lambda changes: self.put(changes, entries))
        passed(Point.RECORD_COMMITTED)
        if written.moves_epoch:
            self.bump_epoch()
        return written.stored

    def moved(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return those that name another representation than before, with the rest of their
        generation; a mere refresh leaves the heads alone."""
        groups = {group_of(entry.key) for entry in entries if self._moved(entry)}
        return [entry for entry in entries if group_of(entry.key) in groups]

    def prepare_heads(self, entries: Sequence[Entry]) -> None:
        """Bring the records in `heads/` to what is about to be committed. Raises StoreError."""
        if not entries:
            return
        with disk_errors(self._layout.heads):
            self.heads.write(entries)
            absent = [entry.key for entry in entries if not needs_head(entry)]
            self.heads.remove(absent, durable=True)

    def put(self, changes: Changes, entries: Sequence[Entry]) -> Written:
        """Write absences, and entries whose blobs have a row; the others are left out."""
        stored: list[Stored] = []
        moves_epoch = False
        for entry in entries:
            attestation = changes.attestation(entry.digest) if entry.status == 200 else None
            if entry.status == 200 and (attestation is None or attestation.size != entry.length):
                continue
            moves_epoch |= _withdraws(changes.put_entry(entry), entry)
            stored.append(Stored(entry=entry, attestation=attestation))
        absences = sum(entry.status != 200 for entry in entries)
        if absences:
            ended_at = self._clock.now() - _ABSENCE_KEPT_S
            changes.forget_absences(ended_at, max(_ABSENCES_PER_STEP, 2 * absences))
            changes.limit_absences(ABSENCES_MAX)
        return Written(stored=stored, moves_epoch=moves_epoch)

    def withdraw(self, keys: Sequence[str]) -> None:
        """Remove entries durably, and tell every worker."""
        self.withdraw_with(keys, lambda _: None)

    def withdraw_with(self, keys: Sequence[str], then: Callable[[Changes], T]) -> T:
        """As `withdraw`; `then` runs in the same transaction, behind the removals."""

        def change(changes: Changes) -> T:
            for key in keys:
                changes.remove_entry(key)
            return then(changes)

        self.remove_heads(keys, durable=True)
        passed(Point.PURGE_BEHEADED)
        result = self.commit(change, durable=True)
        passed(Point.PURGE_COMMITTED)
        self.bump_epoch()
        passed(Point.PURGE_TOLD)
        return result

    def drop_blob(self, digest: bytes) -> list[str]:
        """Remove a blob's row and every entry naming it, durably; return the keys.

        Its file is left to the caller, those of its variants go too. A crash before the caller is
        done leaves what the next start removes.
        """
        self.remove_heads(self.read(lambda index: index.keys_of(digest)), durable=True)

        def change(changes: Changes) -> Removed:
            removed = changes.remove_blob(digest)
            changes.doom([digest, *removed.variants])
            return removed

        removed = self.commit(change, durable=True)
        self.budget.store(-removed.freed_bytes)
        if removed.keys:
            self.bump_epoch()
        # What fails here is settled at the next start: the rows are gone, the note is there.
        with contextlib.suppress(OSError):
            for variant in removed.variants:
                self.blobs.remove(variant)
        return list(removed.keys)

    def remove_heads(self, keys: Iterable[str], *, durable: bool) -> None:
        with disk_errors(self._layout.heads):
            self.heads.remove(keys, durable=durable)

    def rebuild(self) -> None:
        """Throw the index away and begin an empty one, which `repair` fills.

        Raises: StoreError; then the next change begins this anew: an index that is closed, or empty
        with nobody who fills it, would stay so until a restart.
        """
        self._warn("index-damaged", path=self._layout.index)
        self.index.is_damaged = True
        with contextlib.suppress(Exception):  # it is damaged: whatever closing says, it goes
            self.index.close()
        with disk_errors(self._layout.index):
            discard_index(self._files, self._layout)
        policy = self.index.policy
        self.index = Index.create(self._layout.index)
        self.index.policy = policy
        self.announce_index()
        try:
            self.on_rebuilt()
        except StoreError:
            self.index.is_damaged = True
            raise

    def doubt(self) -> None:
        """Count what is stored as the most that it can be, until the files were looked at."""
        try:
            most_bytes = self._files.taken_bytes(self._layout.root)
        except OSError:
            most_bytes = self.budget.budget_bytes  # then nothing more is stored
        self.budget.doubt(most_bytes, self.index.blob_bytes())

    def announce_index(self) -> None:
        """Tell workers that the index is another file, or says other things than before."""
        if self._page is not None:
            self._page.index_replaced()
            self._page.bump_epoch()

    def bump_epoch(self) -> None:
        if self._page is not None:
            self._page.bump_epoch()

    def _moved(self, entry: Entry) -> bool:
        stored = self.index.lookup(entry.key)
        return stored is None or not is_same_representation(stored.entry, entry)

    def _warn(self, event: str, **fields: object) -> None:
        if self._log is not None:
            self._log.warning(event, **fields)


def _withdraws(before: Entry | None, entry: Entry) -> bool:
    """Say whether `entry` in the place of `before` means that hot copies must go at once.

    A changed index file does not: its copies leave when their freshness ends (design, section 2).
    """
    if before is None or before.status != 200:
        return False
    is_switch = entry.proof in GENERATION_PROOFS and before.digest != entry.digest
    return entry.status != 200 or is_switch
