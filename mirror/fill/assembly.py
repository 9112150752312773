"""One body put together: a transfer in order, and beside it the ranges that somebody waits for.

Rules:
1. The transfer in order goes from the first missing byte on and leaves out what others bring.
2. A range that begins further ahead of it than `[upstream] range_ahead` is asked for by itself, of
   the same version or not at all: at most `SIDES_MAX` at a time, at places that are free, so that a
   client's wish never holds up a body. What cannot be had so comes in its turn.
3. What was asked for first runs alone while it is short: it is what somebody waits for. A longer
   one, such as the rest of an interrupted download, runs beside the rest.
4. A side transfer that fails is nobody's trouble: the order reaches what is missing of it.
5. Of a body of which only ranges are fetched nothing else is, until somebody asks for the whole;
   then a failed range fails the flight, because nothing else would bring it. Between its ranges it
   holds no place: its readers may be slow, and its next range may need that very place.

Units: byte offsets, half-open. Does not: verify, publish, or decide what a client is sent.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack

from mirror.errors import MirrorError, StoreError, UpstreamError
from mirror.fill.coverage import Coverage
from mirror.fill.gates import Lane
from mirror.fill.growing import GrowingFile
from mirror.fill.landing import Landing
from mirror.fill.line import Line
from mirror.fill.parts import FillParts
from mirror.fill.ports import PartialFile
from mirror.fill.transfer import Transfer
from mirror.fill.wanted import Wanted, WantedRanges
from mirror.route.route import Route
from mirror.store.extents import Run

SIDES_MAX = 4  # per body: clients that resume somewhere in it; each is a connection upstream
RUNS_MAX = 64  # per body, ahead of the order: what one PROGRESS says of them stays small
ALONE_BYTES = 4 << 20  # at 100 Mbit/s a third of a second: others may wait so long for the start
DESERTED_S = 5.0  # a client that reads one range of something big often wants the next


class Assembly:
    """Makes one growing file complete; `run` once, or `bring_wanted` and then perhaps `run`."""

    def __init__(
        self,
        parts: FillParts,
        route: Route,
        *,
        line: Line,
        partial: PartialFile,
        file: GrowingFile,
        wanted: WantedRanges,
    ) -> None:
        self._parts = parts
        self._route = route
        self._line = line
        self._partial = partial
        self._file = file
        self._wanted = wanted
        self._coverage = Coverage(file.length, partial.landed)
        self._landing = Landing(parts.desk, partial, self._landed)
        self._at = partial.landed  # the next byte of the transfer in order
        self._sides: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()  # somebody asked, left, or brought something
        self._has_order = False
        self._first: asyncio.Task[None] | None = None  # what runs at the place of the order
        self._first_held = AsyncExitStack()  # what the first range gives back
        self._error: BaseException | None = None  # of the last side transfer that failed

    def __repr__(self) -> str:
        return f"<Assembly {self._route.key} {self._coverage!r} {len(self._sides)} beside>"

    async def run(self) -> None:
        """Return when everything has landed. Raises UpstreamError, StoreError."""
        self._has_order = True
        self._file.is_kept = True
        self._begin_first()
        if self._first is not None:
            await asyncio.wait([self._first])
        self._look()
        try:
            await self._bring_all()
        except UpstreamError:
            await self._landing.drain()  # what has come is worth resuming from
            raise
        await self._landing.drain()

    async def bring_wanted(self) -> bool:
        """Bring what is asked for, as long as somebody reads it; whether somebody asked for all.

        Raises: UpstreamError, StoreError.
        """
        self._file.on_deserted = self._moved.set
        self._begin_first()
        while not (self._wanted.is_whole or self._is_crowded or self._coverage.is_complete):
            self._look()
            self._moved.clear()
            try:
                # Also while a range comes: nothing of it would be kept.
                async with asyncio.timeout(None if self._file.is_followed else DESERTED_S):
                    await self._moved.wait()
            except TimeoutError:
                if not self._file.is_followed:
                    return False
            if self._error is not None:
                raise self._error
        await self._line.take_place()
        return True

    @property
    def _is_crowded(self) -> bool:
        return len(self._coverage.taken.runs) >= RUNS_MAX

    async def aclose(self) -> None:
        """End what runs; nothing touches the partial any more. Idempotent."""
        self._wanted.deafen()
        self._file.on_deserted = None
        sides = tuple(self._sides)
        for side in sides:
            side.cancel()
        try:
            if sides:
                await asyncio.wait(sides)
            await self._first_held.aclose()  # its task may have ended before it began
        finally:
            await self._landing.settle()

    # What the transfer says, if it has to begin anew under another tag (`transfer.Given`).

    def has_ahead(self) -> bool:
        taken = self._coverage.taken
        return bool(self._sides) or any(start > 0 for start, _ in taken.runs)

    async def is_same(self, at: int, content: bytes) -> bool:
        await self._landing.drain()
        return await self._parts.desk.compute(self._partial.read, at, len(content)) == content

    # In order.

    async def _bring_all(self) -> None:
        transfer = self._line.transfer
        transfer.given = self
        if self._file.length < 0:
            await self._carry(transfer)
        while not self._coverage.is_complete:
            gap = self._coverage.gap()
            if gap is None:
                await asyncio.wait(self._sides, return_when=asyncio.FIRST_COMPLETED)
                continue
            start, end = gap
            self._at = start
            await transfer.begin_at(start, -1 if end == self._file.length else end)
            await self._carry(transfer)

    async def _carry(self, transfer: Transfer) -> None:
        is_in_order = not transfer.is_side
        async with contextlib.aclosing(transfer.chunks()) as chunks:
            async for chunk in chunks:
                at, end = transfer.offset - len(chunk), transfer.offset
                self._coverage.take(at, end)
                if is_in_order:
                    self._at = end
                await self._landing.take(at, chunk)
                if is_in_order and end < self._file.length and self._coverage.run_end(end) == end:
                    break
            else:
                return
        await transfer.aclose()  # the rest of its response is somebody else's

    # Beside it.

    def _begin_first(self) -> None:
        """Go on with what was asked for first."""
        self._wanted.listen(self._heard)
        part = self._line.transfer.part
        if part is None:
            return
        transfer = self._line.set_part_aside()
        if not self._has_order:
            self._first_held = self._line.hand_over_place()
        self._first_held.push_async_callback(transfer.aclose)
        is_short = part[1] - part[0] <= ALONE_BYTES
        is_beside = not is_short and not self._parts.gate(self._route).is_full(Lane.SIDE)
        lane = Lane.SIDE if self._has_order and is_beside else None
        side = self._begin_side(transfer, part, lane, self._first_held)
        if self._has_order and lane is None:
            self._first = side

    def _heard(self) -> None:
        self._look()
        self._moved.set()

    def _look(self) -> None:
        """Begin what is wanted and far, as far as that is possible; forget what comes anyway."""
        waiting, self._wanted.waiting = self._wanted.waiting, []
        if self._file.length < 0:
            return  # no range is sent of it before its end is known
        self._wanted.waiting += [wanted for wanted in waiting if not self._is_served(wanted)]

    def _is_served(self, wanted: Wanted) -> bool:
        start, end = wanted.of(self._file.length)
        missing = self._coverage.missing(start, end)
        if missing is None:
            return True
        ahead = missing[0] - self._at
        if self._has_order and 0 <= ahead <= self._parts.config.upstream.range_ahead:
            return True
        if not self._may_begin_side():
            return False
        transfer = self._line.transfer.sibling(is_side=True)
        self._begin_side(transfer, missing, Lane.SIDE, AsyncExitStack())
        return missing[1] == end

    def _may_begin_side(self) -> bool:
        if len(self._sides) >= SIDES_MAX or self._is_crowded:
            return False
        transfer = self._line.transfer
        if transfer.ignores_ranges or not transfer.head.strong_etag:
            return False
        # Without an order to bring the bytes it is worth waiting for a place.
        return not self._has_order or not self._parts.gate(self._route).is_full(Lane.SIDE)

    def _begin_side(
        self, transfer: Transfer, part: Run, lane: Lane | None, held: AsyncExitStack
    ) -> asyncio.Task[None]:
        side = asyncio.create_task(
            self._bring(transfer, part, lane, held), name=f"range {self._route.key}"
        )
        self._sides.add(side)
        self._coverage.promise(side, *part)
        side.add_done_callback(self._side_ended)
        return side

    async def _bring(
        self, transfer: Transfer, part: Run, lane: Lane | None, held: AsyncExitStack
    ) -> None:
        try:
            async with held:
                if lane is not None:
                    gate = self._parts.gate(self._route)
                    await held.enter_async_context(gate.slot(self._route.key, lane))
                held.push_async_callback(transfer.aclose)
                await transfer.begin_at(*part)
                await self._carry(transfer)
        except MirrorError as exc:
            if transfer.ignores_ranges:  # then each further one would be the whole, cut off
                self._line.transfer.ignores_ranges = True
            self._note_failure(part[0], exc)

    def _note_failure(self, start: int, error: MirrorError) -> None:
        if not self._has_order:
            self._error = error
        # What the store refused it refuses to the transfer in order too, which says so.
        if not isinstance(error, StoreError):
            self._parts.log.info(
                "range-not-fetched", key=self._route.key, offset=start, reason=str(error)
            )

    def _side_ended(self, side: asyncio.Task[None]) -> None:
        self._sides.discard(side)
        self._coverage.withdraw(side)
        if not side.cancelled():
            crash = side.exception()
            if crash is not None:
                self._parts.log.error("range-crashed", key=self._route.key, error=repr(crash))
                self._error = crash
            self._look()
        self._moved.set()

    def _landed(self) -> None:
        self._file.land(self._partial.landed, self._partial.ahead)
