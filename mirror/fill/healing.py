"""What was condemned is fetched anew at once: healing.

Rules:
1. A key is asked for as a client would ask: the same flights, gates and verification. Who asks for
   it meanwhile shares the flight.
2. `RUNNING_MAX` at once, `QUEUED_MAX` waiting: clients' misses come first. What comes on top, and
   what upstream does not give now, is fetched when it is asked for.
3. A coded form is made again from its content, without upstream.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from mirror.events import EventLog
from mirror.fill.flights import Flight, Flights
from mirror.fill.messages import Ask, Failed, Purpose
from mirror.fill.replies import Growing, PassThrough, Reply
from mirror.route.match import route_of_key
from mirror.store.attesting import Condemned
from mirror.store.entry import Stored

RUNNING_MAX: Final = 2  # a disk that loses much would else fill all gates with its healing
QUEUED_MAX: Final = 65536  # keys; 10 MB. More is lost at once only where the disk is


class Asker(Protocol):
    """`fill.filler.Filler`."""

    @property
    def flights(self) -> Flights: ...

    async def ask(self, ask: Ask) -> Reply: ...

    def code(self, keys: Sequence[str]) -> None: ...


class Lookup(Protocol):
    """`store.store.Store`."""

    def lookup(self, key: str) -> Stored | None: ...


class HealTally(Protocol):
    """Counts for ever. `accounting.keeper_totals`."""

    def healed(self) -> None: ...


class Healer:
    """Make it inside the running loop; `aclose` it before the filler."""

    def __init__(
        self,
        asker: Asker,
        store: Lookup,
        log: EventLog,
        tally: HealTally,
        *,
        queued_max: int = QUEUED_MAX,
    ) -> None:
        self._queued_max = queued_max
        self._asker = asker
        self._store = store
        self._log = log
        self._tally = tally
        self._loop = asyncio.get_running_loop()
        self._queue: OrderedDict[str, str] = OrderedDict()  # key -> digest of what was lost
        self._tasks: set[asyncio.Task[None]] = set()
        # Those that still look into the queue; a task leaves `_tasks` a turn after it has ended.
        self._workers = 0
        self._is_closed = False
        self.healed_total = 0
        self.failed_total = 0

    def __len__(self) -> int:
        """How many keys wait or are being fetched."""
        return len(self._queue) + self._workers

    def __repr__(self) -> str:
        return f"<Healer {len(self)} to do, {self.healed_total} healed>"

    def tell(self, condemned: Condemned) -> None:
        """Heal what these named. From any thread; never waits."""
        if not self._is_closed:
            self._loop.call_soon_threadsafe(self._want, condemned)

    async def aclose(self) -> None:
        self._is_closed = True
        self._queue.clear()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _want(self, condemned: Condemned) -> None:
        if condemned.coded:
            self._asker.code(condemned.coded)
        self._enqueue(condemned.keys, condemned.digest.hex())
        while not self._is_closed and self._workers < min(RUNNING_MAX, len(self._queue)):
            self._workers += 1
            task = asyncio.create_task(self._work(), name="healing")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _enqueue(self, keys: Iterable[str], digest: str) -> None:
        for key in keys:
            # The generation before the current one has no route: it serves for ten seconds only.
            if route_of_key(key) is not None and len(self._queue) < self._queued_max:
                self._queue.setdefault(key, digest)

    async def _work(self) -> None:
        while self._queue:
            key, digest = self._queue.popitem(last=False)
            try:
                await self._heal(key, digest)
            except Exception as exc:  # noqa: BLE001 - the edge of a job: the next key goes on
                self._log.error("heal-crashed", key=key, error=repr(exc))
        self._workers -= 1

    async def _heal(self, key: str, digest: str) -> None:
        reply = await self._asker.ask(Ask(purpose=Purpose.FETCH, key=key))
        if isinstance(reply, PassThrough):
            reply.source.close()  # nobody reads it
        flight = self._flight_of(key)
        if flight is not None and flight.task is not None:
            await asyncio.wait([flight.task])  # the answer may come long before the end
        stored = self._store.lookup(key)
        if stored is not None and stored.entry.status == 200:
            self.healed_total += 1
            self._tally.healed()
            same = stored.entry.digest.hex() == digest
            self._log.info("blob-healed", key=key, digest=stored.entry.digest.hex(), is_same=same)
            return
        self.failed_total += 1
        reason = reply.reason if isinstance(reply, Failed) else "upstream has it no more"
        if isinstance(reply, PassThrough | Growing):
            reason = "it could not be stored"
        self._log.warning("not-healed", key=key, digest=digest, reason=reason)

    def _flight_of(self, key: str) -> Flight | None:
        return next((flight for flight in self._asker.flights if key in flight.keys), None)
