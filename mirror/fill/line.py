"""One body's transfer together with the place at the gate that it is held for.

Rules:
1. Both are given back as soon as the last byte is here: verification and the disk wait elsewhere.
2. A body that has to pass through gives its place back and takes one of those kept for such bodies;
   while none is free it holds no connection either, and asks upstream anew when it is its turn.

Runs in: keeper.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType

from mirror.fill.gates import Lane
from mirror.fill.parts import FillParts
from mirror.fill.ports import Resumable
from mirror.fill.transfer import Transfer
from mirror.fill.wanted import Wanted
from mirror.route.route import Route


class Line:
    """Use as `async with`; `open` first. `digest`: of the whole body."""

    def __init__(
        self, parts: FillParts, route: Route, *, limit_bytes: int, digest: bytes = b""
    ) -> None:
        self._parts = parts
        self._route = route
        self._limit_bytes = limit_bytes
        self._digest = digest
        self._place = AsyncExitStack()
        self.transfer = self._transfer()

    async def __aenter__(self) -> Line:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def open(self, resumable: Resumable | None = None, wanted: Wanted | None = None) -> bool:
        """Wait for a place, then ask, for the rest only of what is `resumable`, or for what is
        `wanted` first.

        False: upstream has no such object. Raises UpstreamError.
        """
        await self._enter(Lane.BODY)
        return await self.transfer.open(resumable, wanted)

    def set_part_aside(self) -> Transfer:
        """Return the transfer whose response brings a part; the line's own begins with nothing.

        The caller closes it; both may run at the place of this line, one after the other.
        """
        part, self.transfer = self.transfer, self.transfer.sibling()
        part.is_side = True
        return part

    def hand_over_place(self) -> AsyncExitStack:
        """Return the place, which the caller gives back; the line has none until `take_place`."""
        return self._place.pop_all()

    async def take_place(self) -> None:
        """Wait for another place. Raises UpstreamError."""
        await self._enter(Lane.BODY)

    async def pass_through(self) -> bool:
        """Change over to the places of bodies that pass through.

        False: upstream, asked anew, has no such object. Raises UpstreamError.
        """
        gate = self._parts.gate(self._route)
        if not gate.has_passing_lane:
            await self.transfer.begin_at(0)
            return True
        if not gate.is_full(Lane.PASSING):
            before, self._place = self._place, AsyncExitStack()
            async with before:
                await self._enter(Lane.PASSING)
            await self.transfer.begin_at(0)
            return True
        await self.aclose()
        await self._enter(Lane.PASSING)
        self.transfer = self._transfer()
        return await self.transfer.open()

    async def aclose(self) -> None:
        """Give the connection back, then the place. Idempotent."""
        try:
            await self.transfer.aclose()
        finally:
            await self._place.aclose()

    async def _enter(self, lane: Lane) -> None:
        gate = self._parts.gate(self._route)
        await self._place.enter_async_context(gate.slot(self._route.key, lane))

    def _transfer(self) -> Transfer:
        return Transfer(
            self._parts, self._route, limit_bytes=self._limit_bytes, digest=self._digest
        )
