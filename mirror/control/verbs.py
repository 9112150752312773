"""What the mirror does when it is told to: `POST /purge` and `POST /gc`, on the unix socket alone.

    request   {"names": [["crates:/…"], …], "prefixes": ["crates:/…"], "dry_run": true}
              {"to_bytes": 1073741824, "dry_run": true}
    answer    one JSON document per line: {"progress": n}, …, and last {"result": {…}} or
              {"error": "…", "hint": "…"}

Rules:
1. Nothing goes unless `dry_run` is false; that is also the default of whoever forgets it.
2. One verb runs at a time; the next one is told so (409). One whose asker has gone is finished.
3. A purge is answered when it is durable and every worker knows of it, or names those that do not.
4. What was done is an event.
5. While the index is made anew nobody can say what is needed, nor what begins with a prefix: gc and
   prefixes wait for the end of that.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import orjson
from aiohttp import web

from mirror.clock import Clock
from mirror.control.acknowledging import unaware_slots
from mirror.errors import MirrorError, StoreError
from mirror.events import EventLog
from mirror.jobs.purge import Gc, Purge, PurgeStore, PurgeWish, QuarantineDoor
from mirror.store.page import SharedPage

SHOWN_NAMES: Final = 20  # in the event
_LINES = "application/x-ndjson"
_AGAIN = "say it again when it runs: what was done stays done"


class PurgeAsk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of each of `names`, the first key that is stored is meant."""

    names: tuple[tuple[str, ...], ...] = ()
    prefixes: tuple[str, ...] = ()
    dry_run: bool = True


class GcAsk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    to_bytes: int | None = None
    dry_run: bool = True


class VerbStore(Protocol):
    """`store.store.Store`."""

    @property
    def purger(self) -> PurgeStore: ...

    @property
    def quarantined(self) -> QuarantineDoor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbSource:
    store: VerbStore
    page: SharedPage
    clock: Clock
    events: EventLog
    is_repairing: Callable[[], bool]


Work = Callable[[Callable[[int], None]], dict[str, Any]]


class Verbs:
    """The routes; on the unix socket only. Make it inside the running loop."""

    def __init__(self, source: VerbSource) -> None:
        self._source = source
        self._running: asyncio.Task[dict[str, Any]] | None = None
        self._is_closed = False

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/purge", self._purge)
        app.router.add_post("/gc", self._gc)

    async def aclose(self) -> None:
        """End what runs after its step; what was done stays done."""
        self._is_closed = True
        if self._running is not None:
            await asyncio.wait((self._running,))

    async def _purge(self, request: web.Request) -> web.StreamResponse:
        try:
            ask = msgspec.json.decode(await request.read(), type=PurgeAsk)
        except msgspec.MsgspecError as exc:
            return _refused(400, f"not understood: {exc}")
        source = self._source
        purge = Purge(source.store.purger, PurgeWish(names=ask.names, prefixes=ask.prefixes))
        whole = bool(ask.prefixes)
        if ask.dry_run:
            return await self._answer(
                request, lambda _: dataclasses.asdict(purge.look()), needs_whole_index=whole
            )

        def work(progress: Callable[[int], None]) -> dict[str, Any]:
            sums = dataclasses.asdict(purge.carry_out(progress))
            named = [names[0] for names in ask.names if names][:SHOWN_NAMES]
            counts = {name: sums[name] for name in ("keys", "blobs", "freed_bytes")}
            source.events.info("purged", names=named, prefixes=list(ask.prefixes), **counts)
            return sums

        return await self._answer(request, work, is_withdrawing=True, needs_whole_index=whole)

    async def _gc(self, request: web.Request) -> web.StreamResponse:
        try:
            ask = msgspec.json.decode(await request.read(), type=GcAsk)
        except msgspec.MsgspecError as exc:
            return _refused(400, f"not understood: {exc}")
        source = self._source
        store = source.store
        gc = Gc(store.purger, store.quarantined, source.clock, ask.to_bytes)
        if ask.dry_run:
            return await self._answer(
                request, lambda _: dataclasses.asdict(gc.look()), needs_whole_index=True
            )

        def work(progress: Callable[[int], None]) -> dict[str, Any]:
            sums = dataclasses.asdict(gc.carry_out(progress))
            source.events.info("garbage-collected", **sums)
            return sums

        return await self._answer(request, work, needs_whole_index=True)

    async def _answer(
        self,
        request: web.Request,
        work: Work,
        *,
        is_withdrawing: bool = False,
        needs_whole_index: bool,
    ) -> web.StreamResponse:
        if needs_whole_index and self._source.is_repairing():
            hint = "say it again when `rust-mirror status` shows no repair"
            return _refused(409, "the index is being made anew", hint)
        if self._running is not None:
            return _refused(409, "another purge or gc runs; wait for its end")
        lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        running = self._running = asyncio.create_task(
            self._do(work, lines, is_withdrawing=is_withdrawing), name="control verb"
        )
        running.add_done_callback(self._ended)
        response = web.StreamResponse(headers={"Content-Type": _LINES, "Cache-Control": "no-store"})
        await response.prepare(request)
        while True:
            line = await lines.get()
            await response.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            if "progress" not in line:
                return response

    async def _do(
        self, work: Work, lines: asyncio.Queue[dict[str, Any]], *, is_withdrawing: bool
    ) -> dict[str, Any]:
        loop = asyncio.get_running_loop()

        def progress(count: int) -> None:
            if self._is_closed:
                raise StoreError("store", "the mirror is stopping", hint=_AGAIN)
            loop.call_soon_threadsafe(lines.put_nowait, {"progress": count})

        try:
            result = await asyncio.to_thread(work, progress)
            if is_withdrawing:
                result["unaware_workers"] = await unaware_slots(
                    self._source.page, self._source.clock
                )
            answer: dict[str, Any] = {"result": result}
        except MirrorError as exc:
            answer = {"error": exc.message, "hint": exc.hint}
        except Exception as exc:  # noqa: BLE001 - the edge of a verb: its asker is told
            self._source.events.error("verb-crashed", error=repr(exc))
            answer = {"error": "the mirror failed to do it; see its events", "hint": ""}
        # Through the loop, as the progress lines came: behind the last of them.
        loop.call_soon(lines.put_nowait, answer)
        return answer

    def _ended(self, running: asyncio.Task[dict[str, Any]]) -> None:
        self._running = None
        if not running.cancelled():
            running.exception()


def _refused(status: int, sentence: str, hint: str = "") -> web.Response:
    return web.json_response({"error": sentence, "hint": hint}, status=status)
