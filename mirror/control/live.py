"""The stream of server-sent events: one snapshot a second, shared by all who look.

Rules:
1. A snapshot is a document of sections. It is made once for all watchers, and not at all while
   nobody watches.
2. A watcher is sent the sections that differ from what it was sent last: at first all of them. One
   that reads slowly skips snapshots; nothing is queued for it.
3. At most `MAX_WATCHERS` at once; more get 503 and the page asks now and then instead. One that
   takes nothing for `PATIENCE_S` is cut off. While there is no snapshot to send, a comment is sent
   as often: that is how one that left is noticed, and its place given to another.
4. A snapshot that fails is told as an event and the stream goes on: the next one may succeed.

Units: seconds.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from mirror.events import EventLog

INTERVAL_S: Final = 1.0
MAX_WATCHERS: Final = 32  # browser tabs of a team; each costs about 2 KB a second
PATIENCE_S: Final = 10.0
_RETRY_MS: Final = 2000  # after which a browser comes back

Sections = Mapping[str, Any]
Snapshot = Callable[[], Awaitable[Sections]]


class Live:
    """The watchers of one keeper and the task that works for them."""

    def __init__(
        self,
        snapshot: Snapshot,
        log: EventLog,
        *,
        interval_s: float = INTERVAL_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._snapshot = snapshot
        self._log = log
        self._interval_s = interval_s
        self._patience_s = patience_s
        self._sections: dict[str, bytes] = {}
        self._moved = asyncio.Condition()
        self._number = 0  # of the newest snapshot
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._has_failed = False

    def __repr__(self) -> str:
        return f"<Live {self._watchers} watchers, snapshot {self._number}>"

    @property
    def watchers(self) -> int:
        return self._watchers

    @property
    def snapshots(self) -> int:
        """How many were made."""
        return self._number

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Stream to one watcher until it leaves."""
        if self._watchers >= MAX_WATCHERS or self._is_closed:
            return web.Response(
                status=503,
                text=f"{MAX_WATCHERS} pages are watching already; /api/overview answers.\n",
                headers={"Retry-After": "5", "Cache-Control": "no-store"},
            )
        self._watchers += 1
        try:
            return await self._stream(request)
        finally:
            self._watchers -= 1
            if not self._watchers:
                await self._rest()

    async def aclose(self) -> None:
        """End the streams; safe to call twice."""
        self._is_closed = True
        await self._rest()
        async with self._moved:
            self._moved.notify_all()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "X-Accel-Buffering": "no",  # a proxy in front passes events on as they come
            }
        )
        await response.prepare(request)
        try:
            await response.write(b"retry: %d\n\n" % _RETRY_MS)
            await self._follow(response)
        except ConnectionError:
            pass  # it left
        except TimeoutError:
            # Ending the response in order would wait for the same reader, without a limit.
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _follow(self, response: web.StreamResponse) -> None:
        sent: dict[str, bytes] = {}
        seen = -1
        while True:
            if self._task is None:
                self._task = asyncio.create_task(self._work(), name="dashboard")
            with contextlib.suppress(TimeoutError):  # rule 3: a comment
                async with asyncio.timeout(self._patience_s):
                    await self._newer_than(seen)
            if self._is_closed:
                return
            seen = self._number
            news = [item for item in self._sections.items() if sent.get(item[0]) != item[1]]
            sent.update(news)
            content = b"".join(_event(name, section) for name, section in news)
            async with asyncio.timeout(self._patience_s):
                await response.write(content or b": nothing new\n\n")

    async def _newer_than(self, seen: int) -> None:
        """Wait for a snapshot that is not the one of this number, or for the end."""
        async with self._moved:
            await self._moved.wait_for(
                lambda: self._is_closed or (bool(self._sections) and self._number != seen)
            )

    async def _work(self) -> None:
        while True:
            try:
                sections = await self._snapshot()
                self._has_failed = False
            except Exception as exc:  # noqa: BLE001 - rule 4
                self._tell(exc)
            else:
                self._sections = {name: _encoded(part) for name, part in sections.items()}
                self._number += 1
                async with self._moved:
                    self._moved.notify_all()
            await asyncio.sleep(self._interval_s)

    def _tell(self, error: Exception) -> None:
        if not self._has_failed:  # once, not each second
            self._log.error(
                "dashboard-failed",
                error=repr(error),
                hint="the dashboard is not renewed; `rust-mirror status` may say more",
            )
        self._has_failed = True

    async def _rest(self) -> None:
        task, self._task = self._task, None
        self._sections = {}  # what nobody renews gets old
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _encoded(section: Any) -> bytes:
    return orjson.dumps(section, default=str)


def _event(name: str, section: bytes) -> bytes:
    """JSON by orjson has no line ends: one `data` line holds it."""
    return b"event: %s\ndata: %s\n\n" % (name.encode("ascii"), section)
