"""Background checks: does the index still list the crates that workers serve?

Rules:
1. Nobody waits for a check. A confirmed index file is what the workers look at; a file that lists a
   crate no more withdraws it (`fill.crates`) before it is confirmed, so that what is stored of a
   crate agrees with its index as of the time when that was confirmed.
2. One check per index file, `RUNNING_MAX` at once, `QUEUED_MAX` waiting; what comes on top is
   dropped, and the next hit asks again.
3. Upstream away: nothing happens; its flight has told so.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from mirror.clock import Clock
from mirror.errors import MirrorError
from mirror.events import EventLog
from mirror.fill.flights import Flights
from mirror.fill.objects import Objects
from mirror.route.crates import crate_of
from mirror.route.match import route_of_key
from mirror.route.route import Route
from mirror.route.sparse_index import index_route

RUNNING_MAX = 8  # of the places for small objects at the index; cold files must not wait for checks
QUEUED_MAX = 1024


class CrateChecks:
    """`objects` asks through the same flights as clients. Make it inside the running loop.

    What was confirmed within the last `after_s` seconds is not asked about.
    """

    def __init__(
        self, objects: Objects, flights: Flights, clock: Clock, log: EventLog, *, after_s: float
    ) -> None:
        self._objects = objects
        self._flights = flights
        self._clock = clock
        self._log = log
        self._after_s = after_s
        self._queue: OrderedDict[str, Route] = OrderedDict()
        self._running: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # Those that still look into the queue; a task leaves `_tasks` a turn after it has ended.
        self._workers = 0
        self._is_closed = False
        self.dropped_total = 0

    def __repr__(self) -> str:
        return f"<CrateChecks {len(self._running)} running, {len(self._queue)} queued>"

    def __len__(self) -> int:
        return len(self._running) + len(self._queue)

    def check(self, keys: Iterable[str]) -> None:
        """Ask about the index files of these crates; other keys are ignored."""
        if self._is_closed:
            return
        for key in keys:
            self._enqueue(key)
        while self._workers < min(RUNNING_MAX, len(self)):
            self._workers += 1
            task = asyncio.create_task(self._work(), name="crate checks")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        self._is_closed = True
        self._queue.clear()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _enqueue(self, key: str) -> None:
        route = route_of_key(key)
        crate = None if route is None else crate_of(route)
        index = None if crate is None else index_route(crate.name)
        if index is None or index.key in self._queue or index.key in self._running:
            return
        if len(self._queue) >= QUEUED_MAX:
            self.dropped_total += 1
        else:
            self._queue[index.key] = index

    async def _work(self) -> None:
        while self._queue:
            key, index = self._queue.popitem(last=False)
            self._running.add(key)
            try:
                await self._confirm(index)
            except MirrorError:
                pass  # the flight has told what is wrong; the crates are served meanwhile
            except Exception as exc:  # noqa: BLE001 - the edge of a job: the next check goes on
                self._log.error("crate-check-crashed", key=key, error=repr(exc))
            finally:
                self._running.discard(key)
            await asyncio.sleep(0)  # hundreds that need nothing must not hold up the loop
        self._workers -= 1  # without a turn between: whoever enqueues next starts another

    async def _confirm(self, index: Route) -> None:
        if self._flights.held(index.key) is None:
            await self._objects.confirmed(index, since=self._clock.now() - self._after_s)
