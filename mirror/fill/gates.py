"""How many transfers of one upstream run at once, and who waits for whom.

Rules:
1. Each upstream has a gate of its own: one that is silent holds up no fill at another.
2. All places of a gate together are no more than the connections of its pool, so that a fill which
   has a place never waits for a connection (that wait would have no deadline). With a single
   connection a body that passes through has no lane of its own and shares the fills'.
3. Bodies leave places to small objects: a client needs a proof or an index file before anything
   else. A gate whose upstream has only one of the two gives it all places.
4. Bodies that pass through last as long as their slowest reader and have places apart.
5. Ranges that are fetched beside a body's own transfer take at most a quarter of the bodies'
   places, and only places that are free: a body never waits for a range.
6. A place is held around a transfer only, never while waiting for another flight or for the disk.
7. Who gets no place within `[limits] queue_wait`, all queues of its lane together, is refused
   (503), so that a client is told before it gives up; a stored copy then serves as stale.

Units: places, seconds. Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from mirror.config import Config
from mirror.errors import ErrorType, UpstreamError
from mirror.fill.replies import RETRY_AFTER_S
from mirror.route.route import UpstreamName

# Per lane: 24 places queue 1,536 asks, more than one CI job's worth; then 503 at once.
WAITING_PER_PLACE = 64
SMALL_SHARE = 4  # one place in so many is kept for small objects
PASSING_SHARE = 4  # one connection in so many is kept for bodies that pass through
QUEUE_WAIT_S = 20.0  # as [limits] queue_wait
SIDE_SHARE = 4  # one body in so many may be a range: ranges must not crowd out whole bodies


class Lane(enum.Enum):
    SMALL = "small"
    BODY = "body"
    PASSING = "passing"
    SIDE = "side"  # a range that somebody waits for, far ahead of a body's own transfer


class WaitTally(Protocol):
    """What is counted, by a name of `accounting.layout.TOTALS`."""

    def add(self, name: str, count: int = 1) -> None: ...


class _Places:
    """A bounded number of places, with a bounded queue before them."""

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)
        self._max_waiting = number * WAITING_PER_PLACE
        self.waiting = 0

    @property
    def is_full(self) -> bool:
        return self._free.locked()

    @asynccontextmanager
    async def place(self, source: str, until: float) -> AsyncIterator[None]:
        """Hold one place, taken before `until` (of the loop's clock).

        Raises UpstreamError (503) when the queue is full, or the wait too long.
        """
        if self._free.locked() and self.waiting >= self._max_waiting:
            raise _refusal(source, "too many fills are waiting")
        self.waiting += 1
        try:
            async with asyncio.timeout_at(until):
                await self._free.acquire()
        except TimeoutError as exc:
            raise _refusal(source, "no place became free in time") from exc
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._free.release()


class Gate:
    """The places of one upstream: `fills`, at most `bodies` of them for bodies; `passing` apart.

    Whoever waits longer than `wait_s` for one is refused.
    """

    def __init__(
        self,
        *,
        fills: int,
        bodies: int,
        passing: int,
        wait_s: float = QUEUE_WAIT_S,
        tally: WaitTally | None = None,
    ) -> None:
        fill_places = _Places(fills)
        # A body waits among the bodies first, so few of them stand before a small object.
        body_places = [fill_places] if bodies >= fills else [_Places(bodies), fill_places]
        passing_places = [_Places(passing)] if passing else body_places
        self._lanes: Mapping[Lane, list[_Places]] = {
            Lane.SMALL: [fill_places],
            Lane.BODY: body_places,
            Lane.PASSING: passing_places,
            Lane.SIDE: [_Places(max(1, min(fills, bodies) // SIDE_SHARE)), *body_places],
        }
        self._all = [places for lane in self._lanes.values() for places in lane]
        self._wait_s = wait_s
        self._tally = tally
        self.has_passing_lane = passing > 0

    def __repr__(self) -> str:
        return f"<Gate {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        return sum(places.waiting for places in set(self._all))

    def is_full(self, lane: Lane) -> bool:
        """Whether the next transfer of `lane` would wait."""
        return any(places.is_full for places in self._lanes[lane])

    @asynccontextmanager
    async def slot(self, source: str, lane: Lane) -> AsyncIterator[None]:
        """Hold one place of the lane.

        Raises UpstreamError (503) when too many wait, or this one waits too long.
        """
        if self.is_full(lane):
            self._count("upstream_waits")
        until = asyncio.get_running_loop().time() + self._wait_s
        async with AsyncExitStack() as held:
            try:
                for places in self._lanes[lane]:
                    await held.enter_async_context(places.place(source, until))
            except UpstreamError:
                self._count("upstream_waits_refused")
                raise
            yield

    def _count(self, name: str) -> None:
        if self._tally is not None:
            self._tally.add(name)


def gate_of(upstream: UpstreamName, config: Config, tally: WaitTally | None = None) -> Gate:
    """Return the gate of one upstream under `[upstream]` `max_fills` and `max_connections` and
    `[limits] queue_wait`."""
    settings, wait_s = config.upstream, float(config.limits.queue_wait)
    connections = settings.max_connections
    if upstream is UpstreamName.INDEX:  # only small objects
        fills = bodies = min(settings.max_fills, connections)
        passing = 0
    else:
        passing = 0 if connections == 1 else max(1, connections // PASSING_SHARE)
        fills = bodies = min(settings.max_fills, connections - passing)
    if upstream is UpstreamName.RELEASES:  # crates are only bodies
        bodies = max(1, fills - max(1, fills // SMALL_SHARE))
    return Gate(fills=fills, bodies=bodies, passing=passing, wait_s=wait_s, tally=tally)


def _refusal(source: str, reason: str) -> UpstreamError:
    """The connections are ours: this says nothing about the upstream."""
    return UpstreamError(
        source,
        reason,
        retry_after_s=RETRY_AFTER_S,
        error_type=ErrorType.CONNECTION_LIMIT_REACHED,
    )
