"""Cancels a task at its k-th suspension: an event loop's task factory that counts them.

Rules:
1. What counts are tasks of the coroutine functions that `watched` names; others run untouched.
2. The cancellation comes as any other does: in the turn after the k-th suspension, whatever the
   task then waits for. `fired` says whether it came to that.

Runs in: tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any


class AwaitCounter:
    """Use `counting` around the loop's work; `arm` before each run."""

    def __init__(self, *watched: str) -> None:
        self._watched = frozenset(watched)
        self._k = 0
        self.suspensions = 0
        self.fired = 0
        self.on_fired: Callable[[], None] = _nothing  # what else happens then

    def arm(self, k: int) -> None:
        """Cancel at the `k`-th suspension from here on; 0: count only."""
        self._k, self.suspensions, self.fired = k, 0, 0

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()
        loop.set_task_factory(self._make)
        try:
            yield
        finally:
            loop.set_task_factory(before)

    def _make(self, loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        if getattr(coro, "__qualname__", "") in self._watched:
            coro = self._counted(coro)
        return asyncio.Task(coro, loop=loop, **more)

    async def _counted(self, coro: Coroutine[Any, Any, Any]) -> Any:
        return await self._driven(coro)

    @types.coroutine
    def _driven(self, coro: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        thrown: BaseException | None = None
        while True:
            try:
                waited_for = coro.send(None) if thrown is None else coro.throw(thrown)
            except StopIteration as end:
                return end.value
            self._suspended()
            thrown = None
            try:
                yield waited_for
            except BaseException as exc:
                thrown = exc

    def _suspended(self) -> None:
        self.suspensions += 1
        task = asyncio.current_task()
        if self.suspensions == self._k and task is not None:
            self.fired += 1
            loop = asyncio.get_running_loop()
            loop.call_soon(task.cancel)
            loop.call_soon(self.on_fired)


def _nothing() -> None:
    """The cancellation is all."""
