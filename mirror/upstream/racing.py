"""Two requests for one answer: the second is sent when the first is slow, and the loser is left.

Rules:
1. The first usable answer wins. A failure wins only when the other has failed too, and then it is
   the first one's.
2. The loser is cancelled at its head: its connection is closed, and nothing of its content is read.
3. A caller that is cancelled leaves both, and waits for neither.
4. Without a second request there is no task, and no turn of the loop more than without a race.

Does not: know what is asked, or whether a second request may be paid for.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from mirror.errors import MirrorError


class Releasable(Protocol):
    def release(self) -> None: ...


A = TypeVar("A", bound=Releasable)
Request = Coroutine[Any, Any, A]


async def race(
    first: Request[A], after_s: float, second: Callable[[], Request[A] | None]
) -> tuple[A, bool]:
    """Return the answer that came first, and whether it is the second one's.

    `second` is called when there is no answer after `after_s`; None: there is no second request.
    Raises: what `first` raised, when nobody answered.
    """
    loop = asyncio.get_running_loop()
    other = _Other(second)
    timer = loop.call_later(after_s, other.start)
    try:
        # The first runs in the caller's own task: with every turn of the loop between a head and
        # the reading of its content, more of a body that breaks off is lost (aiohttp drops what it
        # has buffered when the connection fails).
        async with asyncio.timeout(None) as other.scope:
            try:
                return await first, False
            except MirrorError:
                if not other.may_answer:
                    raise
                with contextlib.suppress(MirrorError):
                    return await other.answer(), True
                raise
    except TimeoutError:
        return await other.answer(), True
    finally:
        timer.cancel()
        other.leave()


class _Other(Generic[A]):
    """The second request; its answer ends the first one's scope."""

    def __init__(self, second: Callable[[], Request[A] | None]) -> None:
        self.scope: asyncio.Timeout | None = None
        self._second = second
        self._task: asyncio.Task[A] | None = None
        self._is_awaited = False  # or left: its end is no news any more
        self._is_taken = False

    @property
    def may_answer(self) -> bool:
        """Whether it is under way, or has an answer."""
        return self._task is not None and (not self._task.done() or _has_answer(self._task))

    def start(self) -> None:
        request = self._second()
        if request is not None:
            self._task = asyncio.create_task(request, name="upstream hedge")
            self._task.add_done_callback(self._ended)

    async def answer(self) -> A:
        if self._task is None:
            raise ValueError("there is no second request")
        self._is_awaited = True
        answer = await self._task
        # Only here: who waits may be cancelled in the very turn in which the answer comes.
        self._is_taken = True
        return answer

    def leave(self) -> None:
        """Cancel it, and release an answer that nobody took."""
        self._is_awaited = True
        if self._task is not None and not self._is_taken:
            self._task.cancel()
            self._task.add_done_callback(_release)

    def _ended(self, task: asyncio.Task[A]) -> None:
        if _has_answer(task) and not self._is_awaited and self.scope is not None:
            self.scope.reschedule(asyncio.get_running_loop().time())


def _has_answer(task: asyncio.Task[A]) -> bool:
    return not task.cancelled() and task.exception() is None


def _release(task: asyncio.Task[A]) -> None:
    if _has_answer(task):
        task.result().release()
