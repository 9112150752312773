"""How a flight for one key ends when there is no transfer to tell of: absent, confirmed, trouble.

Rules:
1. What upstream no longer has is withdrawn before anybody is told so.
2. Upstream trouble is answered with the stored copy as stale (RFC 5861 section 4; for so long as
   `[freshness] stale_if_error` says), else with a failure; never a 404.
   The key is then held off, so that a failing upstream is not hammered, and for no less than its
   own Retry-After (RFC 9110 section 10.2.3), which `upstream` has cut to a minute.
3. The answer comes first, durability second; the flight ends after both.

Runs in: keeper.
"""

from __future__ import annotations

from mirror.errors import MirrorError, UpstreamError
from mirror.fill.entries import NO_HEAD, Head
from mirror.fill.flights import Flight
from mirror.fill.messages import StoredAnswer
from mirror.fill.parts import FillParts
from mirror.fill.replies import Reply, failed, stale
from mirror.route.route import Route
from mirror.store.entry import Entry, Stored

STALE_HOLD_S = 5.0  # a stored copy serves meanwhile, so patience costs clients nothing
FAILURE_HOLD_S = 1.0  # clients wait for the next try; rustup's four tries come within 0.1 s


class Outcomes:
    """Ends flights; owns nothing."""

    def __init__(self, parts: FillParts) -> None:
        self._parts = parts

    async def absent(self, flight: Flight, route: Route, *, is_recorded: bool = True) -> None:
        """Upstream has no such object: withdraw what is stored, remember the absence unless
        something stored implies it."""
        desk = self._parts.desk
        before = desk.lookup(route.key)
        if before is not None and before.entry.status == 200:
            await desk.withdraw([route.key])
            self._parts.log.info("withdrawn", key=route.key, reason="upstream no longer has it")
        entry = self._parts.entries.absent(route, self._parts.clock.now())
        outcome = "fwd=uri-miss; stored" if is_recorded else "fwd=uri-miss"
        flight.answer({route.key: absence(entry, outcome)})
        if is_recorded:
            await self._parts.remember([entry])

    async def confirmed(
        self,
        flight: Flight,
        route: Route,
        stored: Stored,
        *,
        at: float,
        outcome: str,
        head: Head = NO_HEAD,
    ) -> None:
        """Upstream vouched at `at` for what is stored."""
        entry = self._parts.entries.confirmed(stored.entry, route, at, head)
        again = Stored(entry=entry, attestation=stored.attestation)
        flight.answer({route.key: StoredAnswer(stored=again, outcome=outcome)})
        await self._parts.remember([entry])

    def trouble(
        self, flight: Flight, current: dict[str, Stored | None], error: MirrorError
    ) -> None:
        """Answer each key of the flight with its stored copy as stale, or with the failure."""
        failure = failed(error)
        status = failure.upstream_status
        copies = {key: self._parts.stand_in(stored) for key, stored in current.items()}
        has_copy = any(copies.values())
        hold_s = STALE_HOLD_S if has_copy else FAILURE_HOLD_S
        self._parts.flights.hold(
            flight.key,
            failure,
            for_s=max(hold_s, _wish_s(error)),
            upstream_status=status,
        )
        self._parts.log.warning(
            "upstream-trouble",
            key=flight.key,
            reason=str(error),
            error_type=failure.error_type.value if failure.error_type else "",
            serves_stale=has_copy,
        )
        replies: dict[str, Reply] = {}
        for key in flight.keys:
            stored = copies.get(key)
            replies[key] = failure if stored is None else stale(stored, status)
        flight.answer(replies)


def _wish_s(error: MirrorError) -> float:
    """How long upstream itself wants not to be asked for it; 0: it did not say."""
    if isinstance(error, UpstreamError) and error.upstream_status in (429, 503):
        return error.retry_after_s
    return 0.0


def absence(entry: Entry, outcome: str = "fwd=uri-miss; stored") -> StoredAnswer:
    return StoredAnswer(stored=Stored(entry=entry, attestation=None), outcome=outcome)
