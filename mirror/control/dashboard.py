"""The dashboard's routes: pages, JSON for them and for scripts, and the stream.

    /                                   the page
    /object?key=…                       one object explained
    /api/overview                       this moment, the sections that the stream sends
    /api/history?since=&until=&step=    a span of the ledger, see `spans`
    /api/object?key=…                   see `objects`
    /events                             server-sent events, see `live`

Rules:
1. Everything is read-only and cached nowhere. Host names and methods are the server's guards.
2. A request that a browser marks as coming from another site is refused: such a page cannot read
   the answer, but could take the places of those who watch.
3. The ledger is read by a thread, a few at once at most: a long span must not keep the keeper from
   its work.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from mirror.accounting.history import History
from mirror.control.asked import latest_requests
from mirror.control.live import Live
from mirror.control.objects import NoObjectError, ObjectSource, events_about, explain, find_route
from mirror.control.overview import OverviewSource, build_overview
from mirror.control.pages import Page, answer_page, read_pages
from mirror.control.spans import Span, SpanError, build_history, parse_span
from mirror.errors import MirrorError
from mirror.events import EventLog, latest_events

Money = Callable[[Span, float], Mapping[str, Any]]
READS_AT_ONCE: Final = 2  # of the ledger, for the dashboard
_READ_EVENTS: Final = 2000
_FIELDS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_ELSEWHERE: Final = ("cross-site", "same-site")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSource:
    """Where everything comes from. Threads use `history`, and `money` of a span at a moment."""

    overview: OverviewSource
    objects: ObjectSource
    history: History
    money: Money


class Dashboard:
    """One per keeper; make it inside the running loop."""

    def __init__(self, source: DashboardSource, log: EventLog) -> None:
        self._source = source
        self._pages = read_pages()
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self.live = Live(lambda: build_overview(source.overview), log)

    def add_to(self, app: web.Application) -> None:
        """Add the routes to a listener's application."""
        for path, page in self._pages.items():
            app.router.add_get(path, _page_handler(page))
        routes: dict[str, _Handler] = {
            "/api/overview": self._answer_overview,
            "/api/history": self._answer_history,
            "/api/object": self._answer_object,
            "/events": self.live.answer,
        }
        for path, handler in routes.items():
            app.router.add_get(path, _own_site_only(handler), allow_head=path != "/events")
        app.on_shutdown.append(self._end)

    async def _end(self, _app: web.Application) -> None:
        await self.live.aclose()

    async def _answer_overview(self, _request: web.Request) -> web.Response:
        return json_answer(await build_overview(self._source.overview))

    async def _answer_history(self, request: web.Request) -> web.Response:
        now = self._source.overview.status.clock.now()
        query = request.query
        try:
            span = parse_span(
                query.get("since", ""), query.get("until", ""), query.get("step", ""), now
            )
        except SpanError as exc:
            return _trouble(400, str(exc))

        def read() -> dict[str, Any]:
            document = build_history(self._source.history, span)
            return document | {"money": self._source.money(span, now)}

        async with self._reads:
            try:
                return json_answer(await asyncio.to_thread(read))
            except MirrorError as exc:
                return _trouble(503, str(exc))

    async def _answer_object(self, request: web.Request) -> web.Response:
        try:
            route = find_route(request.query.get("key", ""))
        except NoObjectError as exc:
            return _trouble(400, str(exc))
        status, objects = self._source.overview.status, self._source.objects
        now = status.clock.now()
        document = explain(route, objects, now=now, now_s=status.clock.monotonic())
        log_path = objects.config.log.access

        def read() -> dict[str, Any]:
            events = latest_events(objects.config.state.path, _READ_EVENTS)
            return {
                "events": events_about(route.key, events),
                "is_logged": bool(log_path),
                "requests": latest_requests(log_path, route) if log_path else [],
                "top": self._top(route.key, now),
            }

        async with self._reads:
            try:
                return json_answer(document | await asyncio.to_thread(read))
            except MirrorError as exc:
                return _trouble(503, str(exc))

    def _top(self, key: str, now: float) -> dict[str, Any] | None:
        """What was counted of it in the last day; None: it is not among the most used."""
        limit = self._source.objects.config.accounting.top_objects
        lines = self._source.history.objects(now - 86400, now, limit)
        line = next((each for each in lines if each.key == key), None)
        if line is None:
            return None
        return {
            "requests": line.requests, "content_bytes": line.content_bytes, "error": line.error
        }  # fmt: skip


def _page_handler(page: Page) -> _Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return answer_page(request, page)

    return answer


def _own_site_only(handler: _Handler) -> _Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Sec-Fetch-Site", "") in _ELSEWHERE:
            return _trouble(403, "Pages of other sites are not answered.")
        return await handler(request)

    return answer


def json_answer(document: Mapping[str, Any], status: int = 200) -> web.Response:
    """Return a document; compressed for who accepts that."""
    response = web.Response(
        status=status,
        body=orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE, default=str),
        content_type="application/json",
        headers=_FIELDS,
    )
    response.enable_compression()
    return response


def _trouble(status: int, sentence: str) -> web.Response:
    return json_answer({"trouble": sentence}, status)
