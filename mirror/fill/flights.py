"""One flight per key for the whole machine, and hold-offs.

Rules:
1. A flight belongs to nobody: it goes on when every ask was cancelled, and ends by itself.
2. A flight stays in the table until its result is durable, so that no second one starts meanwhile.
3. A key that just failed is held off: asks get the failure (or the stale copy) without upstream.
4. A hold-off is never shortened: what is worth the longer one stays true.

Units: seconds of the monotonic clock. Does not: know what a flight does.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mirror.clock import Clock
from mirror.errors import MirrorError
from mirror.events import EventLog
from mirror.fill.growing import GrowingFile
from mirror.fill.messages import Failed
from mirror.fill.replies import RETRY_AFTER_S, Growing, Replies, Reply, failed
from mirror.fill.wanted import WantedRanges

HELD_MAX = 4096  # keys remembered as just failed
_STOPPING = Failed(status=503, reason="the mirror is stopping", retry_after_s=RETRY_AFTER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Why a key is held off; `upstream_status` 0: upstream did not answer."""

    failure: Failed
    upstream_status: int
    until: float


class FlightTally(Protocol):
    """Counts flights as they end. `accounting.keeper_totals`."""

    def flight_ended(self, *, is_failed: bool) -> None: ...

    def add(self, name: str, count: int = 1) -> None:
        """Add to a name of `accounting.layout.TOTALS`."""


class Flight:
    """The work for one key (or one generation); `answer` may come long before its end."""

    __slots__ = ("_answer", "began_at_s", "holds", "key", "keys", "task", "wanted")

    def __init__(self, key: str, keys: tuple[str, ...], began_at_s: float = 0.0) -> None:
        self.key = key
        self.keys = keys
        self.began_at_s = began_at_s  # of the monotonic clock
        self.task: asyncio.Task[None] | None = None
        self.holds = contextlib.ExitStack()  # what it gives back at its end
        self.wanted = WantedRanges()  # what its askers want first
        self._answer: asyncio.Future[Replies] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Flight {self.key} {'answered' if self.is_answered else 'asking'}>"

    @property
    def is_answered(self) -> bool:
        return self._answer.done()

    @property
    def file(self) -> GrowingFile | None:
        """The body that lands, from the moment on that its askers may follow it."""
        if not self._answer.done() or self._answer.cancelled():
            return None
        replies = self._answer.result().values()
        return next((reply.file for reply in replies if isinstance(reply, Growing)), None)

    @property
    def has_failed(self) -> bool:
        """Whether it ended without anything to answer with, be it an absence or a stale copy."""
        replies = self._answer.result().values()
        return any(map(_is_failure, replies))

    def answer(self, replies: Replies) -> None:
        """Answer all that wait and will; only the first answer counts."""
        if not self._answer.done():
            self._answer.set_result(replies)

    def answer_all(self, reply: Reply) -> None:
        self.answer(dict.fromkeys(self.keys, reply))

    async def replies(self) -> Replies:
        """Wait for the answer. Cancelling the waiter leaves the flight alone."""
        return await asyncio.shield(self._answer)


class Flights:
    """The table of flights."""

    def __init__(self, *, clock: Clock, log: EventLog, tally: FlightTally | None = None) -> None:
        self._clock = clock
        self._log = log
        self._tally = tally
        self._table: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: OrderedDict[str, Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Flight]:
        """Those that a further ask would join, in the order of their beginning."""
        return iter(tuple(self._table.values()))

    def find(self, key: str) -> Flight | None:
        return self._table.get(key)

    def launch(
        self, key: str, keys: tuple[str, ...], run: Callable[[Flight], Awaitable[None]]
    ) -> Flight:
        """Start the work for `key`; it must not be in the table (misuse)."""
        if key in self._table:
            raise ValueError(f"{key} is in flight")
        flight = Flight(key, keys, self._clock.monotonic())
        self._table[key] = flight
        flight.task = asyncio.create_task(self._fly(flight, run), name=f"fill {key}")
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)
        return flight

    def detach(self, flight: Flight) -> None:
        """Let the next ask for the key start a flight of its own while this one goes on."""
        if self._table.get(flight.key) is flight:
            del self._table[flight.key]

    def hold(self, key: str, failure: Failed, *, for_s: float, upstream_status: int = 0) -> None:
        """Answer asks for `key` without upstream for a while, or for as long as it is held."""
        until = self._clock.monotonic() + for_s
        before = self._held.get(key)
        if before is not None and before.until >= until:
            return
        self._held[key] = Held(failure=failure, upstream_status=upstream_status, until=until)
        self._held.move_to_end(key)
        if len(self._held) > HELD_MAX:
            self._held.popitem(last=False)

    def held(self, key: str) -> Held | None:
        held = self._held.get(key)
        if held is not None and held.until <= self._clock.monotonic():
            del self._held[key]
            return None
        return held

    async def aclose(self) -> None:
        """Cancel every flight and wait until each has put its things in order."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for flight in self:  # a task that is cancelled before its first step runs nothing
            self.detach(flight)
            flight.answer_all(_STOPPING)

    async def _fly(self, flight: Flight, run: Callable[[Flight], Awaitable[None]]) -> None:
        failure = _STOPPING
        try:
            await run(flight)
        except MirrorError as exc:
            self._log.warning("fill-failed", key=flight.key, reason=str(exc))
            failure = failed(exc)
        except Exception as exc:  # noqa: BLE001 - the edge of a fill: the keeper goes on
            self._log.error("fill-crashed", key=flight.key, error=repr(exc))
            failure = Failed(status=503, reason="the fill failed", retry_after_s=RETRY_AFTER_S)
        finally:
            flight.holds.close()
            self.detach(flight)
            flight.answer_all(failure)
            if self._tally is not None:
                self._tally.flight_ended(is_failed=flight.has_failed)


def _is_failure(reply: Reply) -> bool:
    if isinstance(reply, Growing):
        return reply.file.failure is not None
    return isinstance(reply, Failed) and reply.status >= 500
