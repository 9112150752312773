"""Fill one small object whose digest nobody states: conditional request, check, answer, store.

Rules:
1. Nothing is answered or stored before its content passed `checks` and `small_proofs`.
2. A checked object is answered inline and becomes durable afterwards.
3. The same bytes again are a confirmation, whatever status brought them.
4. An index file is compared with its crate's history before it is answered: what it may not say
   is trouble, and crates that it no longer lists go first (`crates`).

Runs in: keeper.
"""

from __future__ import annotations

from mirror.errors import MirrorError, VerificationError
from mirror.fill.checks import NOTHING_PARSED, Parsed, check_content
from mirror.fill.crates import CrateBook, OfferedIndex
from mirror.fill.flights import Flight
from mirror.fill.outcomes import Outcomes
from mirror.fill.parts import FillParts
from mirror.fill.replies import FILLED, REFILLED, Inline
from mirror.fill.small_fetch import (
    THREAD_FROM_BYTES,
    Absent,
    Fetched,
    FetchResult,
    Unchanged,
    fetch_small,
)
from mirror.fill.small_proofs import RustupRollbackError, SmallProof, SmallProofs
from mirror.route.route import Kind, Route
from mirror.store.entry import Stored


class SmallObjects:
    """The procedure of a flight for one small object."""

    def __init__(self, parts: FillParts, crates: CrateBook) -> None:
        self._parts = parts
        self._crates = crates
        self._outcomes = Outcomes(parts)
        self._proofs = SmallProofs(parts)

    async def fill(self, flight: Flight, route: Route) -> None:
        current = self._parts.desk.current(route.key)
        try:
            known = None if current is None else current.entry
            result = await fetch_small(self._parts, flight, route, known)
            parsed = NOTHING_PARSED
            proof = SmallProof(proof="parsed")
            if isinstance(result, Fetched):
                parsed = await self._check(route, result.content)
                proof = await self._proofs.of(route, result.content)
        except MirrorError as exc:
            self._refused(route, exc)
            self._outcomes.trouble(flight, {route.key: current}, exc)
            return
        try:
            await self._consult(route, result, parsed, current)
        except MirrorError as exc:
            copy = self._parts.desk.current(route.key)
            self._outcomes.trouble(flight, {route.key: copy}, exc)
            return
        if isinstance(result, Absent):
            await self._outcomes.absent(flight, route)
        elif isinstance(result, Fetched) and (
            current is None or result.digest != current.entry.digest
        ):
            await self._replace(flight, route, result, proof, current)
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
            is_rollback = isinstance(error, RustupRollbackError)
            event = "rustup-release-rollback" if is_rollback else "content-refused"
            self._parts.log.error(event, key=route.key, expected=error.expected, got=error.got)

    async def _consult(
        self, route: Route, result: FetchResult, parsed: Parsed, current: Stored | None
    ) -> None:
        """Compare an index file with its crate's history. Raises MirrorError: it is not for us."""
        if route.kind is not Kind.INDEX_FILE:
            return
        if isinstance(result, Absent):
            await self._crates.vanished(route, current)
        elif current is not None and (
            isinstance(result, Unchanged) or result.digest == current.entry.digest
        ):
            await self._crates.confirmed(route, current)
        elif isinstance(result, Fetched) and parsed.index is not None:
            offered = OfferedIndex(
                digest=result.digest, facts=parsed.index, last_modified=result.head.last_modified
            )
            await self._crates.replaced(route, offered, current)

    async def _replace(
        self,
        flight: Flight,
        route: Route,
        fetched: Fetched,
        proof: SmallProof,
        current: Stored | None,
    ) -> None:
        entry = self._parts.entries.present(
            route,
            digest=fetched.digest,
            head=fetched.head,
            length=len(fetched.content),
            now=self._parts.clock.now(),
            proof=proof.proof,
            voucher=proof.voucher,
        )
        outcome = FILLED
        if current is not None:
            outcome = REFILLED
        flight.answer({route.key: Inline(entry=entry, outcome=outcome, content=fetched.content)})
        await self._parts.keep([(entry, fetched.content)])
