"""Finds out when the store takes content again, while nobody waits for it.

Rules:
1. A probe runs only while there is a trouble; in between it rests (`store.trouble` says how long).
2. A trouble may begin in any thread; the probe is begun in the loop.

Units: seconds.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from mirror.errors import StoreError
from mirror.fill.desk import finished
from mirror.store.trouble import StoreTrouble


class TroubledStore(Protocol):
    """The store as its recovery needs it."""

    @property
    def trouble(self) -> StoreTrouble: ...

    @property
    def probe(self) -> Callable[[], None]:
        """Raises StoreError while the store cannot take anything."""


class StoreRecovery:
    """Make it inside the running loop; `aclose` it before the store is closed."""

    def __init__(
        self, store: TroubledStore, rest: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._store = store
        self._rest = rest
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        store.trouble.on_begun = self._begun
        if not store.trouble.is_storing:  # met while the store was opened
            self._start()

    def __repr__(self) -> str:
        return f"<StoreRecovery {'probing' if self._task else 'idle'} {self._store.trouble!r}>"

    async def aclose(self) -> None:
        """End the probe, after the look that is under way. Idempotent."""
        self._is_closed = True
        self._store.trouble.on_begun = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _begun(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        if self._task is None and not self._is_closed:
            self._task = asyncio.create_task(self._recover(), name="store recovery")

    async def _recover(self) -> None:
        while not await self._has_recovered():
            pass
        self._task = None

    async def _has_recovered(self) -> bool:
        """Rest, then look whether the store takes something."""
        trouble = self._store.trouble
        await self._rest(trouble.next_rest_s())
        if not trouble.is_storing:
            with contextlib.suppress(StoreError):  # told when it began; it goes on
                await finished(asyncio.ensure_future(asyncio.to_thread(self._store.probe)))
                trouble.over()
        return trouble.is_storing
