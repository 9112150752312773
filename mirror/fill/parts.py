"""What every procedure of the keeper side needs, in one value.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from mirror.clock import Clock
from mirror.config import Config
from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.fill.desk import StoreDesk
from mirror.fill.entries import EntryMaker
from mirror.fill.flights import Flights
from mirror.fill.gates import Gate, Lane
from mirror.fill.held import HeldReleases
from mirror.fill.memory import MemoryBudget
from mirror.fill.ports import TrustState, UpstreamPool
from mirror.http.freshness import is_too_stale
from mirror.route.route import Route, UpstreamName
from mirror.store.entry import Entry, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class FillParts:
    """`sleep` and `jitter` ([0, 1)) are seams for tests."""

    desk: StoreDesk
    pools: Mapping[UpstreamName, UpstreamPool]
    config: Config
    clock: Clock
    log: EventLog
    gates: Mapping[UpstreamName, Gate]
    flights: Flights
    entries: EntryMaker
    memory: MemoryBudget
    trust: TrustState
    held: HeldReleases
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random

    def pool(self, route: Route) -> UpstreamPool:
        return self.pools[route.upstream]

    def gate(self, route: Route) -> Gate:
        return self.gates[route.upstream]

    def slot(self, route: Route) -> AbstractAsyncContextManager[None]:
        """Hold a place for a small object. Raises UpstreamError (503) when too many wait."""
        return self.gate(route).slot(route.key, Lane.SMALL)

    async def keep(
        self, items: Sequence[tuple[Entry, bytes]], records: Sequence[Entry] = ()
    ) -> None:
        """Store small objects that have been answered already, with `records` in the same commit.

        A store that cannot take them is an event, not a failure: the clients have their bytes, and
        the next ask fetches them again. One that takes nothing is not asked.
        """
        if not self.desk.is_storing:
            return
        try:
            await self.desk.put(items, records)
        except StoreError as exc:
            self.not_stored([*(entry.key for entry, _ in items), *(r.key for r in records)], exc)

    async def remember(self, entries: Sequence[Entry]) -> None:
        """As `keep`, for metadata."""
        if not self.desk.is_storing:
            return
        try:
            await self.desk.record(entries)
        except StoreError as exc:
            self.not_stored([entry.key for entry in entries], exc)

    def not_stored(self, keys: Sequence[str], error: StoreError) -> None:
        """Tell that these were answered and not kept; of a trouble of the disk's one event tells,
        which there is already."""
        if error.trouble is None:
            self.log.warning("not-stored", keys=keys, reason=str(error))

    def stand_in(self, stored: Stored | None) -> Stored | None:
        """What may be answered while upstream is away; None when `stored` is too old for that."""
        if stored is None:
            return None
        entry, now = stored.entry, self.clock.now()
        limit_s = self.config.freshness.stale_if_error
        is_old = is_too_stale(entry.fresh_until, entry.confirmed_at, now, limit_s=limit_s)
        return None if is_old else stored

    async def pause(self, failures: int) -> None:
        """Back off before the next try: doubling from 0.2 s to 2 s, jittered down to half."""
        longest_s = min(2.0, 0.2 * 2.0 ** max(0, failures - 1))
        await self.sleep(longest_s * (1 - self.jitter() / 2))
