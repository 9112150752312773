"""The histories of crates: in the state database, the latest used in memory too.

Rules:
1. `keep` returns when its history is durable; `note` writes behind, in batches: what a crash loses
   of it was first seen, and is read again from the index file that is stored (`joined`).
2. Writes run one after another, so that an earlier history never lands on a later one.
3. Bounded: beyond `UNWRITTEN_MAX` histories that the disk does not take, the oldest are forgotten.

Units: the memory bound counts versions (shared with the parsed index files; else 150 bytes each).
Does not: judge anything (`verify.crate_history`). Names are lower-case, as index files are named.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict

from mirror.errors import StoreError, VerificationError
from mirror.events import EventLog
from mirror.fill.desk import StoreDesk
from mirror.fill.ports import TrustState
from mirror.store.state import CrateRecord
from mirror.verify.crate_history import CrateHistory, pack, unpack

WRITE_BEHIND_S = 0.5  # a resolution of 500 crates then costs a few commits
BATCH_MAX = 512
UNWRITTEN_MAX = 4096
VERSIONS_MAX = 100_000  # some 15 MB, were nothing of it shared


class CrateMemory:
    """Make it inside the running loop; `aclose` writes what waits."""

    def __init__(
        self,
        desk: StoreDesk,
        trust: TrustState,
        log: EventLog,
        *,
        write_behind_s: float = WRITE_BEHIND_S,
    ) -> None:
        self._desk = desk
        self._trust = trust
        self._log = log
        self._write_behind_s = write_behind_s
        self._recent: OrderedDict[str, CrateHistory] = OrderedDict()
        self._versions = 0
        self._unwritten: OrderedDict[str, CrateHistory] = OrderedDict()
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._is_due = asyncio.Event()

    def __repr__(self) -> str:
        return f"<CrateMemory {len(self._recent)} recent, {len(self._unwritten)} unwritten>"

    async def recall(self, name: str) -> CrateHistory | None:
        """Return what is known of the crate. Raises StoreError."""
        known = self._at_hand(name)
        if known is not None:
            return known
        record = await self._desk.compute(self._trust.crate_record, name)
        known = self._at_hand(name)  # written while the disk was asked
        if known is not None or record is None:
            return known
        try:
            history = unpack(record, name)
        except VerificationError as exc:
            raise StoreError(name, str(exc), hint="restore a backup of it", noun="state") from exc
        self._remember(name, history)
        return history

    def note(self, history: CrateHistory) -> None:
        """Remember it; it becomes durable a little later."""
        name = history.name.lower()
        if self._recent.get(name) is history:
            return  # it is written, or waits to be
        self._remember(name, history)
        self._unwritten[name] = history
        self._unwritten.move_to_end(name)
        if len(self._unwritten) > UNWRITTEN_MAX:
            self._unwritten.popitem(last=False)
        if len(self._unwritten) >= BATCH_MAX:
            self._is_due.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_behind(), name="crate memory")

    async def keep(self, history: CrateHistory) -> None:
        """Remember it durably. Raises StoreError: nothing has changed then.

        Cancelled while the disk works, the disk knows; this memory is about to end.
        """
        name = history.name.lower()
        async with self._writing:
            # Before the write: whatever becomes of this call, it must not be written after it.
            earlier = self._unwritten.pop(name, None)
            try:
                await self._desk.compute(self._trust.put_crate_records, [_record(name, history)])
            except StoreError:
                if earlier is not None:
                    self._unwritten.setdefault(name, earlier)
                raise
            self._remember(name, history)

    async def aclose(self) -> None:
        self._is_due.set()
        if self._writer is not None:
            await self._writer
        elif self._unwritten:
            await self._write_behind()  # the disk did not take them; once more

    def _at_hand(self, name: str) -> CrateHistory | None:
        if name in self._recent:
            self._recent.move_to_end(name)
            return self._recent[name]
        return self._unwritten.get(name)

    def _remember(self, name: str, history: CrateHistory) -> None:
        before = self._recent.pop(name, None)
        self._versions += _size(history) - (0 if before is None else _size(before))
        self._recent[name] = history
        while self._versions > VERSIONS_MAX and len(self._recent) > 1:
            self._versions -= _size(self._recent.popitem(last=False)[1])

    async def _write_behind(self) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._write_behind_s):
                    await self._is_due.wait()
            self._is_due.clear()
            while self._unwritten:
                await self._write_batch()
        except StoreError as exc:
            # They stay unwritten and are written with what comes next; the index files are stored.
            self._log.warning(
                "crate-memory-not-written", crates=len(self._unwritten), reason=str(exc)
            )
        finally:
            self._writer = None

    async def _write_batch(self) -> None:
        async with self._writing:
            batch = list(self._unwritten.items())[:BATCH_MAX]
            records = [_record(name, history) for name, history in batch]
            await self._desk.compute(self._trust.put_crate_records, records)
            for name, history in batch:
                if self._unwritten.get(name) is history:
                    del self._unwritten[name]


def _record(name: str, history: CrateHistory) -> CrateRecord:
    return CrateRecord(name=name, is_marked=history.is_marked, record=pack(history))


def _size(history: CrateHistory) -> int:
    return len(history.live) + len(history.deleted) + 1
