"""Fill one object whose digest is stated elsewhere: archives, rustup binaries, crates.

Rules:
1. The expected digest comes first; without one nothing is fetched.
2. What is stored under that digest already is confirmed or adopted, not fetched.
3. A body that disagrees is an event; its proof is asked for again before the next try, and the key
   is held off meanwhile.

Runs in: keeper.
"""

from __future__ import annotations

from dataclasses import replace

from mirror.errors import MirrorError, StoreError, VerificationError
from mirror.fill.download import Downloads, Order
from mirror.fill.entries import NO_HEAD
from mirror.fill.expected import Expected, ExpectedDigests
from mirror.fill.flights import Flight
from mirror.fill.messages import StoredAnswer
from mirror.fill.outcomes import STALE_HOLD_S, Outcomes
from mirror.fill.parts import FillParts
from mirror.fill.replies import failed, stale
from mirror.route.route import Kind, Route, Tempo
from mirror.store.entry import Stored


class Blobs:
    """The procedure of a flight for one blob."""

    def __init__(self, parts: FillParts, expected: ExpectedDigests) -> None:
        self._parts = parts
        self._expected = expected
        self._outcomes = Outcomes(parts)
        self._downloads = Downloads(parts)

    async def fill(self, flight: Flight, route: Route) -> None:
        current = self._parts.desk.current(route.key)
        try:
            expected = await self._expected.find(route)
            if expected is None:
                is_implied = route.kind is Kind.CRATE  # by the index, which is stored
                await self._outcomes.absent(flight, route, is_recorded=not is_implied)
                return
            if not await self._from_store(flight, route, expected, current):
                await self._from_upstream(flight, route, expected, current)
            await self._expected.recheck(route)
        except VerificationError as exc:
            await self._disagreed(flight, route, exc)
            self._trouble(flight, route, current, exc)
        except MirrorError as exc:
            if isinstance(exc, StoreError) and flight.is_answered:
                # Its followers have the verified body, or were told; upstream is not to blame.
                self._parts.log.warning("not-stored", keys=[route.key], reason=str(exc))
            else:
                self._trouble(flight, route, current, exc)

    async def _from_store(
        self, flight: Flight, route: Route, expected: Expected, current: Stored | None
    ) -> bool:
        """Answer from what is here already, under this key or another. False: it is not."""
        at = self._confirmed_at(route, expected)
        if current is not None and current.entry.digest == expected.digest:
            if expected.is_stale:
                flight.answer({route.key: stale(current, 0)})
            else:
                await self._outcomes.confirmed(flight, route, current, at=at, outcome="hit")
            return True
        entry = self._parts.entries.present(
            route, digest=expected.digest, head=NO_HEAD, length=0, now=at, proof=expected.proof
        )
        adopted = await self._parts.desk.adopt(expected.digest, entry)
        if adopted is not None:
            flight.answer({route.key: StoredAnswer(stored=adopted, outcome="hit")})
        return adopted is not None

    async def _from_upstream(
        self, flight: Flight, route: Route, expected: Expected, current: Stored | None
    ) -> None:
        order = Order(
            flight=flight,
            route=route,
            expected=replace(expected, confirmed_at=self._confirmed_at(route, expected)),
            outcome="fwd=uri-miss; stored"
            if current is None
            else "fwd=stale; fwd-status=200; stored",
        )
        if not await self._downloads.fetch(order):
            await self._outcomes.absent(flight, route)

    def _confirmed_at(self, route: Route, expected: Expected) -> float:
        """From when the freshness of the body counts: bytes that never change are confirmed by
        being looked at, a body that moves is as old as the word about its digest."""
        if route.tempo is Tempo.FOREVER and route.kind is not Kind.CRATE:
            return self._parts.clock.now()
        return expected.confirmed_at

    async def _disagreed(self, flight: Flight, route: Route, error: VerificationError) -> None:
        self._parts.log.error(
            "digest-mismatch", key=route.key, expected=error.expected, got=error.got
        )
        self._parts.flights.hold(flight.key, failed(error), for_s=STALE_HOLD_S)
        try:
            await self._expected.distrust(route)
        except StoreError as exc:
            # The next try may meet the same proof; whoever waits is answered all the same.
            self._parts.log.warning("not-distrusted", key=route.key, reason=str(exc))

    def _trouble(
        self, flight: Flight, route: Route, current: Stored | None, error: MirrorError
    ) -> None:
        self._outcomes.trouble(flight, {route.key: current}, error)
