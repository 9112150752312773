"""How many bytes of small objects the keeper holds in memory at once, over all flights.

Rules:
1. Every byte is counted before it is kept, and uncounted when its flight ends.
2. Who needs more than there is room for waits: first come, first served, at most `WAIT_S`; then it
   fails (503), and what it held is free for the others.
3. A share that alone holds everything gets more whatever the budget: one body never waits for
   itself. When all that hold bytes wait, nobody would ever give any back: the latest fails at once.

Units: bytes, seconds. Does not: allocate, or bound a single body (`route.policy`).
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from mirror.errors import UpstreamError
from mirror.fill.replies import RETRY_AFTER_S

# Eight of the largest contents that are allowed, thirty of the largest that are known. Measured:
# twelve endless index files without it took the keeper to 429 MB.
BUDGET_BYTES = 67108864
WAIT_S = 5.0  # as long as a stored copy lets a client wait (filler.STALE_PATIENCE_S)


class MemoryFullError(UpstreamError):
    """There is no room for a content at the moment; says nothing about the upstream."""

    def __init__(self, source: str) -> None:
        super().__init__(source, "too many bytes are in memory", retry_after_s=RETRY_AFTER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiter:
    share: MemoryShare
    nbytes: int
    granted: asyncio.Future[None]


class MemoryBudget:
    """The bytes of one keeper."""

    def __init__(self, budget_bytes: int = BUDGET_BYTES, *, wait_s: float = WAIT_S) -> None:
        self._budget = budget_bytes
        self._wait_s = wait_s
        self._waiting: deque[_Waiter] = deque()
        self.used_bytes = 0

    def __repr__(self) -> str:
        return f"<MemoryBudget {self.used_bytes}/{self._budget}, {len(self._waiting)} waiting>"

    def share(self, source: str) -> MemoryShare:
        """Return an empty share; its owner releases it. `source` is named in errors."""
        return MemoryShare(self, source)

    async def _take(self, share: MemoryShare, nbytes: int) -> None:
        if not self._waiting and self._fits(share, nbytes):
            self._give(share, nbytes)
            return
        granted = asyncio.get_running_loop().create_future()
        waiter = _Waiter(share=share, nbytes=nbytes, granted=granted)
        self._waiting.append(waiter)
        self._settle()
        try:
            async with asyncio.timeout(self._wait_s):
                await granted
        except TimeoutError as exc:
            raise MemoryFullError(share.source) from exc
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._settle()

    def _free(self, share: MemoryShare, nbytes: int) -> None:
        share.held_bytes -= nbytes
        self.used_bytes -= nbytes
        self._settle()

    def _settle(self) -> None:
        """Grant what fits, in order; when nothing can move any more, fail the latest holder."""
        while self._waiting and self._may_go_on(self._waiting[0]):
            first = self._waiting.popleft()
            if not first.granted.done():  # else: cancelled, about to take itself out
                self._give(first.share, first.nbytes)
                first.granted.set_result(None)
        holders = [waiter for waiter in self._waiting if waiter.share.held_bytes]
        if holders and sum(waiter.share.held_bytes for waiter in holders) == self.used_bytes:
            latest = holders[-1]
            self._waiting.remove(latest)
            if not latest.granted.done():
                latest.granted.set_exception(MemoryFullError(latest.share.source))
                latest.granted.exception()  # marked as seen: its asker may be cancelled by then

    def _may_go_on(self, waiter: _Waiter) -> bool:
        return waiter.granted.done() or self._fits(waiter.share, waiter.nbytes)

    def _fits(self, share: MemoryShare, nbytes: int) -> bool:
        is_alone = self.used_bytes == share.held_bytes
        return is_alone or self.used_bytes + nbytes <= self._budget

    def _give(self, share: MemoryShare, nbytes: int) -> None:
        share.held_bytes += nbytes
        self.used_bytes += nbytes


class MemoryShare:
    """What one content holds; one task at a time grows it."""

    __slots__ = ("_budget", "held_bytes", "source")

    def __init__(self, budget: MemoryBudget, source: str) -> None:
        self._budget = budget
        self.source = source
        self.held_bytes = 0

    async def grow(self, more_bytes: int) -> None:
        """Count `more_bytes`, when there is room. Raises MemoryFullError."""
        await self._budget._take(self, more_bytes)

    def shrink_to(self, nbytes: int) -> None:
        """Give back all but `nbytes`."""
        if nbytes < self.held_bytes:
            self._budget._free(self, self.held_bytes - nbytes)

    def release(self) -> None:
        """Give back everything. Idempotent."""
        self.shrink_to(0)
