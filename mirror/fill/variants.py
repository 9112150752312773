"""Gzip variants: made behind the answer, when a client that accepts gzip was served without one.

Rules:
1. Nobody waits for a variant; until it exists the identity is served.
2. It is made from a stored, attested and hashed content, and is a function of it alone: no name and
   no time is in it, so it is the same bytes on every mirror with one zlib.
3. One that is not the attested file any more is hashed first: it is vouched for anew, or goes to
   the quarantine with an event and is made again.
4. What hardly gets smaller is noted as such and never tried again.
5. `BATCH` at once, in one publication, one after the other on one thread; `WANTED_MAX` wait, and
   what comes on top is dropped: the worker says it again.

Measured on one core: 0.3 ms for an index file of 45 KB, 10 ms for one of 1.1 MB, 18 ms for a
channel manifest. Level 9 takes three times as long for 4 to 9 % fewer bytes, level 1 saves half of
the time for 15 to 50 % more.

Does not: say which objects have variants (`route.policy.may_vary`).
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from mirror.errors import MirrorError
from mirror.events import EventLog
from mirror.fill.desk import StoreDesk
from mirror.fill.flights import Flights
from mirror.fill.ports import BlobReader, VariantDoor
from mirror.route.match import route_of_key
from mirror.route.policy import CODED_MIN_BYTES, may_vary
from mirror.store.entry import NoVariant, Stored

WANTED_MAX = 1024  # about what one build names
BATCH = 16  # contents are at most 8 MiB each, and one is in memory at a time; their forms are small
COMMIT_WAIT_S = 2.0  # an object that was answered before it is durable is stored in far less
LEVEL = 6
_GZIP_WBITS = 31  # a gzip member with an empty name and time 0
_WORTH_RATIO = 0.9


def gzip_of(content: bytes) -> bytes:
    """Return the gzip form of `content`; b"" when it saves less than a tenth."""
    coder = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_WBITS)
    form = coder.compress(content) + coder.flush()
    return form if len(form) <= _WORTH_RATIO * len(content) else b""


class VariantMaker:
    """Make it inside the running loop; `aclose` it before the desk."""

    def __init__(
        self,
        store: VariantDoor,
        reader: BlobReader,
        desk: StoreDesk,
        flights: Flights,
        log: EventLog,
    ) -> None:
        self._store = store
        self._reader = reader
        self._desk = desk
        self._flights = flights
        self._log = log
        self._wanted: OrderedDict[str, None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<VariantMaker {len(self)} wanted>"

    def __len__(self) -> int:
        """How many keys wait, or are worked on."""
        return len(self._wanted)

    def want(self, keys: Iterable[str]) -> None:
        """Make the variants of these objects soon; other keys are ignored."""
        if self._is_closed:
            return
        for key in keys:
            route = route_of_key(key)
            if route is not None and may_vary(route) and len(self._wanted) < WANTED_MAX:
                self._wanted[key] = None
        if self._wanted and self._task is None:
            self._task = asyncio.create_task(self._work(), name="variants")

    async def aclose(self) -> None:
        """End after what is being published."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._wanted.clear()

    async def _work(self) -> None:
        try:
            while self._wanted:
                keys = list(self._wanted)[:BATCH]
                await self._make_all(keys)
                for key in keys:
                    self._wanted.pop(key, None)
        finally:
            self._task = None

    async def _make_all(self, keys: Sequence[str]) -> None:
        try:
            found = [await self._find(key) for key in keys]
            # Two names of one content have one variant.
            wanted = {stored.entry.digest: stored for stored in found if stored is not None}
            if wanted:
                await self._desk.code(self._make, tuple(wanted.values()))
        except MirrorError as exc:
            self._log.warning("not-coded", keys=list(keys), reason=str(exc))
        except Exception as exc:  # noqa: BLE001 - the edge of a job: the next ones go on
            self._log.error("coding-crashed", keys=list(keys), error=repr(exc))

    async def _find(self, key: str) -> Stored | None:
        """The stored content, after the commit of one that was answered before it."""
        stored = self._desk.current(key)
        flight = self._flights.find(key)
        is_landing = flight is not None and (flight.is_answered or stored is None)
        if flight is not None and flight.task is not None and is_landing:
            await asyncio.wait((flight.task,), timeout=COMMIT_WAIT_S)
            stored = self._desk.current(key)
        if stored is None or stored.entry.length < CODED_MIN_BYTES:
            return None
        return stored

    # In a thread.

    def _make(self, wanted: Sequence[Stored]) -> None:
        forms: dict[bytes, bytes] = {}
        for stored in wanted:
            found = self._store.find(stored)
            if found is NoVariant.POINTLESS:
                continue
            # It is asked for although it is there: its file is not what a worker may serve.
            if isinstance(found, Stored) and self._store.attest(found):
                continue
            content = self._reader.load_small(stored)
            if isinstance(content, bytes):  # else the next request for it has it looked at
                forms[stored.entry.digest] = gzip_of(content)
        if forms:
            self._store.put(forms)
