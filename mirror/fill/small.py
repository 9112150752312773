"""Fill one small object whose digest nobody states: conditional request, check, answer, store.

Rules:
1. Nothing is answered or stored before its content passed `checks`.
2. A checked object is answered inline and becomes durable afterwards.
3. The same bytes again are a confirmation, whatever status brought them.
4. When an index file is replaced or gone, crates that it no longer lists go first (`crates`).

Runs in: keeper.
"""

from __future__ import annotations

from mirror.errors import MirrorError, UpstreamError, VerificationError
from mirror.fill.checks import Parsed, check_content
from mirror.fill.crates import CrateBook
from mirror.fill.flights import Flight
from mirror.fill.outcomes import Outcomes
from mirror.fill.parts import FillParts
from mirror.fill.replies import Inline
from mirror.fill.small_fetch import THREAD_FROM_BYTES, Absent, Fetched, Unchanged, fetch_small
from mirror.route.route import Kind, Route
from mirror.store.entry import Stored


class SmallObjects:
    """The procedure of a flight for one small object."""

    def __init__(self, parts: FillParts, crates: CrateBook) -> None:
        self._parts = parts
        self._crates = crates
        self._outcomes = Outcomes(parts)

    async def fill(self, flight: Flight, route: Route) -> None:
        current = self._parts.desk.current(route.key)
        try:
            known = None if current is None else current.entry
            result = await fetch_small(self._parts, flight, route, known)
            if isinstance(result, Fetched):
                parsed = await self._check(route, result.content)
        except (UpstreamError, VerificationError) as exc:
            self._refused(route, exc)
            self._outcomes.trouble(flight, {route.key: current}, exc)
            return
        if isinstance(result, Absent):
            await self._absent(flight, route, current)
        elif isinstance(result, Fetched) and (
            current is None or result.digest != current.entry.digest
        ):
            await self._replace(flight, route, result, parsed, current)
        elif current is not None:
            status = 304 if isinstance(result, Unchanged) else 200
            await self._outcomes.confirmed(
                flight,
                route,
                current,
                at=self._parts.clock.now(),
                outcome=f"fwd=stale; fwd-status={status}",
                head=result.head,
            )

    async def _check(self, route: Route, content: bytes) -> Parsed:
        if len(content) >= THREAD_FROM_BYTES:
            return await self._parts.desk.compute(check_content, route, content)
        return check_content(route, content)

    def _refused(self, route: Route, error: MirrorError) -> None:
        if isinstance(error, VerificationError):
            self._parts.log.error(
                "content-refused", key=route.key, expected=error.expected, got=error.got
            )

    async def _absent(self, flight: Flight, route: Route, current: Stored | None) -> None:
        if route.kind is Kind.INDEX_FILE and current is not None:
            await self._crates.vanished(current)
        await self._outcomes.absent(flight, route)

    async def _replace(
        self,
        flight: Flight,
        route: Route,
        fetched: Fetched,
        parsed: Parsed,
        current: Stored | None,
    ) -> None:
        if parsed.index is not None:
            await self._crates.replaced(fetched.digest, parsed.index)
        entry = self._parts.entries.present(
            route,
            digest=fetched.digest,
            head=fetched.head,
            length=len(fetched.content),
            now=self._parts.clock.now(),
            proof="parsed",
        )
        outcome = "fwd=uri-miss; stored"
        if current is not None:
            outcome = "fwd=stale; fwd-status=200; stored"
        flight.answer({route.key: Inline(entry=entry, outcome=outcome, content=fetched.content)})
        await self._parts.keep([(entry, fetched.content)])
