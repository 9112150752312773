"""Background checks: is what workers serve stale still what upstream has (RFC 5861 section 3), and
does the index still list the crates that they serve?

Rules:
1. Nobody waits for a check. A confirmed index file is what the workers look at; a file that lists a
   crate no more withdraws it (`fill.crates`) before it is confirmed, so that what is stored of a
   crate agrees with its index as of the time when that was confirmed.
2. One check per object (of a crate: per index file), `RUNNING_MAX` at once, `QUEUED_MAX` waiting;
   what comes on top is dropped, and the next hit asks again.
3. What is not stale, or is in flight, is not asked about: workers may name what has just changed.
4. Upstream away: nothing happens; its flight has told so.
5. What is not stored is not fetched for a check, but for an index file that has to vouch.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from mirror.clock import Clock
from mirror.errors import MirrorError
from mirror.events import EventLog
from mirror.fill.flights import Flights
from mirror.fill.objects import ANY_TIME
from mirror.route.crates import crate_of
from mirror.route.match import route_of_key
from mirror.route.route import Route, Tempo
from mirror.route.sparse_index import index_route

RUNNING_MAX = 8  # of the places for small objects at the index; cold files must not wait for checks
QUEUED_MAX = 1024


class Refresher(Protocol):
    """`fill.filler.Filler`."""

    async def refresh(self, route: Route, *, since: float = ANY_TIME) -> None:
        """Have the object confirmed by upstream if it was confirmed before `since`; without
        `since` if it is stored and stale.

        Raises: MirrorError.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """`is_listing`: of an index file on behalf of a crate, and however fresh it is."""

    route: Route
    is_listing: bool


class BackgroundChecks:
    """`refresher` asks through the same flights as clients. Make it inside the running loop.

    An index file that was confirmed within the last `after_s` seconds is not asked about.
    """

    def __init__(
        self, refresher: Refresher, flights: Flights, clock: Clock, log: EventLog, *, after_s: float
    ) -> None:
        self._refresher = refresher
        self._flights = flights
        self._clock = clock
        self._log = log
        self._after_s = after_s
        self._queue: OrderedDict[str, _Check] = OrderedDict()
        self._running: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # Those that still look into the queue; a task leaves `_tasks` a turn after it has ended.
        self._workers = 0
        self._is_closed = False
        self.dropped_total = 0

    def __repr__(self) -> str:
        return f"<BackgroundChecks {len(self._running)} running, {len(self._queue)} queued>"

    def __len__(self) -> int:
        return len(self._running) + len(self._queue)

    def check(self, keys: Iterable[str]) -> None:
        """Ask about these, and of crates about their index files; what is no key is ignored."""
        if self._is_closed:
            return
        for key in keys:
            self._enqueue(key)
        while self._workers < min(RUNNING_MAX, len(self)):
            self._workers += 1
            task = asyncio.create_task(self._work(), name="background checks")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        self._is_closed = True
        self._queue.clear()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _enqueue(self, key: str) -> None:
        check = _check_of(key)
        if check is None or check.route.key in self._running:
            return
        waiting = self._queue.get(check.route.key)
        if waiting is None and len(self._queue) >= QUEUED_MAX:
            self.dropped_total += 1
        elif waiting is None or check.is_listing:
            self._queue[check.route.key] = check

    async def _work(self) -> None:
        while self._queue:
            key, check = self._queue.popitem(last=False)
            self._running.add(key)
            try:
                await self._confirm(check)
            except MirrorError:
                pass  # the flight has told what is wrong; what is stored is served meanwhile
            except Exception as exc:  # noqa: BLE001 - the edge of a job: the next check goes on
                self._log.error("check-crashed", key=key, error=repr(exc))
            finally:
                self._running.discard(key)
            await asyncio.sleep(0)  # hundreds that need nothing must not hold up the loop
        self._workers -= 1  # without a turn between: whoever enqueues next starts another

    async def _confirm(self, check: _Check) -> None:
        if self._flights.held(check.route.key) is None:
            since = self._clock.now() - self._after_s if check.is_listing else ANY_TIME
            await self._refresher.refresh(check.route, since=since)


def _check_of(key: str) -> _Check | None:
    route = route_of_key(key)
    if route is None:
        return None
    crate = crate_of(route)
    if crate is not None:
        index = index_route(crate.name)
        return None if index is None else _Check(route=index, is_listing=True)
    return None if route.tempo is Tempo.FOREVER else _Check(route=route, is_listing=False)
