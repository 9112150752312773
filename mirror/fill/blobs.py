"""Fill one object whose digest is stated elsewhere: archives, rustup binaries, crates, and the
version 1 files of channels.

Rules:
1. The expected digest comes first; without one nothing is fetched. So does the signature, where one
   is required.
2. What is stored under that digest already is confirmed or adopted, not fetched; a required
   signature is then checked over the stored bytes, once.
3. A body that disagrees is an event; its proof is asked for again before the next try, and the key
   is held off meanwhile.
4. A body whose version changes upstream while it comes is given up, and its proof asked for again;
   nothing is held off.
5. The proofs that were used are kept with the verdict that they agree, never before it.

Runs in: keeper.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from mirror.errors import MirrorError, StoreError, UpstreamError, VerificationError
from mirror.fill.changed import ChangedUpstreamError
from mirror.fill.download import Downloads, Order
from mirror.fill.entries import NO_HEAD
from mirror.fill.expected import Expected, ExpectedDigests
from mirror.fill.flights import Flight
from mirror.fill.messages import StoredAnswer
from mirror.fill.outcomes import STALE_HOLD_S, Outcomes
from mirror.fill.parts import FillParts
from mirror.fill.proof_files import ProofFiles
from mirror.fill.replies import FILLED, REFILLED, failed, stale
from mirror.fill.signatures import SignatureMismatchError, Signatures, Signing
from mirror.route.route import Kind, Route, Tempo
from mirror.store.entry import Entry, Stored
from mirror.verify.openpgp import Grade

_UNSIGNED = "#unsigned"  # "#" is in no grammar


class Blobs:
    """The procedure of a flight for one blob."""

    def __init__(self, parts: FillParts, expected: ExpectedDigests, signatures: Signatures) -> None:
        self._parts = parts
        self._expected = expected
        self._signatures = signatures
        self._files = ProofFiles(parts)
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
            is_signed = _is_signed(current, expected)
            signing = None if is_signed else await self._signatures.begin(route)
            if not await self._from_store(flight, route, expected, current, signing):
                await self._from_upstream(flight, route, expected, current, signing)
            await self._keep_proofs(route, expected, signing)
            await self._expected.recheck(route)
        except VerificationError as exc:
            await self._disagreed(flight, route, exc)
            if isinstance(exc, SignatureMismatchError) and current is not None:
                current = await self._withdrawn_unsigned(route, current)
            self._trouble(flight, route, current, exc)
        except ChangedUpstreamError as exc:
            await self._changed(flight, route, exc)
        except MirrorError as exc:
            if isinstance(exc, StoreError) and flight.is_answered:
                # Its followers have the verified body, or were told; upstream is not to blame.
                self._parts.not_stored([route.key], exc)
            else:
                self._trouble(flight, route, current, exc)

    async def _keep_proofs(self, route: Route, expected: Expected, signing: Signing | None) -> None:
        """Keep the proofs if the body is stored: one that passed through may have lost its reader
        before its end, and then nobody has compared anything."""
        is_weak = signing is None or signing.grade is Grade.WEAK  # good, and proves nothing
        files = (expected.file, None if signing is None or is_weak else signing.file)
        used = [file for file in files if file is not None]
        stored = self._parts.desk.lookup(route.key) if used else None
        if stored is None or stored.entry.digest != expected.digest:
            return
        await self._files.agreed(used, route, expected.digest)

    async def _from_store(
        self,
        flight: Flight,
        route: Route,
        expected: Expected,
        current: Stored | None,
        signing: Signing | None,
    ) -> bool:
        """Answer from what is here already, under this key or another. False: it is not."""
        at = self._confirmed_at(route, expected)
        is_current = current is not None and current.entry.digest == expected.digest
        if is_current and current is not None and signing is None:
            if expected.is_stale:
                if self._parts.stand_in(current) is None:
                    raise UpstreamError(route.key, "its digest cannot be checked at the moment")
                flight.answer({route.key: stale(current, 0)})
            else:
                await self._outcomes.confirmed(flight, route, current, at=at, outcome="hit")
            return True
        entry = self._parts.entries.present(
            route,
            digest=expected.digest,
            head=NO_HEAD,
            length=0,
            now=at,
            proof=expected.proof,
            voucher=expected.voucher,
        )
        try:
            if signing is None:
                adopted = await self._parts.desk.adopt(expected.digest, entry)
            else:
                adopted = await self._adopt_signed(entry, signing)
        except StoreError as exc:
            if exc.trouble is None:
                raise
            return False  # what cannot be recorded passes through
        if adopted is None:
            return False
        flight.answer({route.key: StoredAnswer(stored=adopted, outcome="hit")})
        return True

    async def _adopt_signed(self, entry: Entry, signing: Signing) -> Stored | None:
        """Check the signature over stored bytes under a name that no request can have, then name
        them. None: they are not here."""
        desk = self._parts.desk
        hidden = await desk.adopt(entry.digest, replace(entry, key=entry.key + _UNSIGNED))
        if hidden is None:
            return None
        try:
            if not await desk.feed(hidden, signing.check.update):
                raise StoreError(entry.key, "the stored copy is not usable")
            signed = replace(await desk.compute(signing.prove, hidden.entry), key=entry.key)
            await desk.record([signed])
        finally:
            await desk.withdraw([hidden.entry.key])
        return Stored(entry=signed, attestation=hidden.attestation)

    async def _from_upstream(
        self,
        flight: Flight,
        route: Route,
        expected: Expected,
        current: Stored | None,
        signing: Signing | None,
    ) -> None:
        order = Order(
            flight=flight,
            route=route,
            expected=replace(expected, confirmed_at=self._confirmed_at(route, expected)),
            outcome=FILLED if current is None else REFILLED,
            signing=signing,
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
        is_signature = isinstance(error, SignatureMismatchError)
        self._parts.log.error(
            "signature-mismatch" if is_signature else "digest-mismatch",
            key=route.key,
            expected=error.expected,
            got=error.got,
        )
        self._parts.flights.hold(flight.key, failed(error), for_s=STALE_HOLD_S)
        await self._distrust(route)

    async def _changed(self, flight: Flight, route: Route, error: ChangedUpstreamError) -> None:
        """Another version came in the middle: whoever has nothing yet asks again, at once."""
        self._parts.log.warning("upstream-changed", key=route.key, reason=error.reason)
        await self._distrust(route)
        flight.answer_all(failed(error))

    async def _distrust(self, route: Route) -> None:
        try:
            await self._expected.distrust(route)
        except StoreError as exc:
            # The next try may meet the same proof; whoever waits is answered all the same.
            self._parts.log.warning("not-distrusted", key=route.key, reason=str(exc))

    async def _withdrawn_unsigned(self, route: Route, current: Stored) -> Stored | None:
        """A copy from before signatures were required does not stand in for a signed one."""
        signatures = self._signatures
        is_enough = current.entry.proof == "signature" or signatures.is_legacy(route)
        if is_enough or not signatures.is_needed(route):
            return current
        with contextlib.suppress(StoreError):  # it is not answered all the same
            await self._parts.desk.withdraw([route.key])
        return None

    def _trouble(
        self, flight: Flight, route: Route, current: Stored | None, error: MirrorError
    ) -> None:
        self._outcomes.trouble(flight, {route.key: current}, error)


def _is_signed(current: Stored | None, expected: Expected) -> bool:
    """Whether the stored bytes are those expected and passed a signature already."""
    return (
        current is not None
        and current.entry.digest == expected.digest
        and current.entry.proof == "signature"
    )
