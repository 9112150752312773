"""Fetch one body whose digest is known: small ones inline, large ones growing on disk.

Steps of a large body:
1. what an earlier fill left is asked for from its end on; the head tells the length; its bytes are
   reserved, or the body passes through uncached;
2. the partial is begun, or resumed where an earlier one ended;
3. the flight is answered with the growing file, and bytes land;
4. the digest decides, then the signature where one is required: publish, or quarantine and fail.

Rules:
1. Nothing is published, and the end of nothing is released, before the digest agrees.
2. Whatever happens, partial, reservation and connection are given back.
3. Place and connection go back with the last byte; hashes and commits keep no other fill waiting.
4. A disk that fails under a body ends its growing file: whoever follows it asks again, gets it
   passed through, and goes on behind what it has given out (`serve.rejoining`).
5. A signature is hashed in the thread and pass that hashes and writes (`PartialFile.tap`), also of
   what an earlier fill left.
6. A range far into a body that nobody has is asked for first. Of one above `[store]
   ranges_only_above` nothing else is fetched, and what came is dropped: nothing vouches for it.

Units: bytes. Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from itertools import count
from typing import NoReturn

from msgspec import structs

from mirror.errors import MirrorError, StoreError, UpstreamError, VerificationError
from mirror.fill.assembly import Assembly
from mirror.fill.desk import StoreDesk
from mirror.fill.expected import Expected
from mirror.fill.flights import Flight
from mirror.fill.growing import GrowingFile
from mirror.fill.line import Line
from mirror.fill.messages import Failed
from mirror.fill.parts import FillParts
from mirror.fill.ports import PartialFile, Resumable
from mirror.fill.relay import Relay, RelayClosedError
from mirror.fill.replies import RETRY_AFTER_S, Growing, Inline, PassThrough, failed
from mirror.fill.signatures import SignatureMismatchError, Signing
from mirror.fill.small_fetch import THREAD_FROM_BYTES
from mirror.fill.transfer import Transfer
from mirror.fill.wanted import Wanted
from mirror.route import policy
from mirror.route.route import Route
from mirror.store.entry import Entry

# As many bytes as a stream may send at once (frames.INITIAL_CREDIT_BYTES): such a body is verified
# before its first byte goes out, costs no file hand-over, and joins a group commit.
SMALL_BODY_BYTES = 262144
UNKNOWN_RESERVE_BYTES = 16777216  # first reservation for an unknown length; the partial extends it
# Who comes while it ends begins anew, as behind a change.
_PARTED = Failed(
    status=503,
    reason="only ranges of it were fetched",
    retry_after_s=RETRY_AFTER_S,
    is_changed=True,
)
CLAIM_WAIT_S = 5.0  # whoever asked is told in the same loop turn; longer means: nobody is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One body to fetch: for which flight, and what it must be."""

    flight: Flight
    route: Route
    expected: Expected
    outcome: str
    signing: Signing | None = None


class Downloads:
    """Numbers the growing files of this keeper."""

    def __init__(self, parts: FillParts) -> None:
        self._parts = parts
        self._numbers = count(1)

    async def fetch(self, order: Order) -> bool:
        """Answer the order's flight and store the body. False: upstream has no such object.

        Raises: UpstreamError, StoreError, VerificationError; `flight.is_answered` tells whether
        followers have been given something by then (they have then been told of the failure).
        """
        limit = policy.max_bytes(order.route.kind)
        # Of an unknown length nothing can be said beforehand, so it must fit the store.
        unknown_limit = min(self._parts.config.store.max_object, limit)
        digest = order.expected.digest
        async with Line(self._parts, order.route, limit_bytes=unknown_limit, digest=digest) as line:
            if not await line.open(await self._resumable(order), self._first(order)):
                return False
            length = line.transfer.head.length
            if length > limit:
                raise UpstreamError(
                    order.route.key, f"{length} bytes are too many", retryable=False, status=502
                )
            if 0 <= length <= SMALL_BODY_BYTES:
                await line.transfer.begin_at(0)
                await self._inline(order, line)
                return True
            return await self._large(order, line)

    async def _resumable(self, order: Order) -> Resumable | None:
        key, digest = order.route.key, order.expected.digest
        found = await self._parts.desk.resumable(key, digest)
        return found if found is not None and found.length > SMALL_BODY_BYTES else None

    def _first(self, order: Order) -> Wanted | None:
        """Return the range to ask for first, if it is far enough from the first byte."""
        first = order.flight.wanted.first
        ahead = self._parts.config.upstream.range_ahead
        return first if first is not None and (first.start < 0 or first.start > ahead) else None

    def _entry(self, order: Order, transfer: Transfer, length: int) -> Entry:
        return self._parts.entries.present(
            order.route,
            digest=order.expected.digest,
            head=transfer.head,
            length=max(0, length),
            now=order.expected.confirmed_at,
            proof=order.expected.proof,
            voucher=order.expected.voucher,
        )

    async def _inline(self, order: Order, line: Line) -> None:
        content = b"".join([chunk async for chunk in line.transfer.chunks()])
        if not self._parts.desk.is_behind:  # else the place is what holds back further bodies
            await line.aclose()
        digest = await _sha256(self._parts.desk, content)
        entry = self._entry(order, line.transfer, len(content))
        if digest != order.expected.digest:
            await self._quarantine_content(entry, content, digest)
            _disagree(order, digest)
        if order.signing is not None:
            try:
                await self._parts.desk.compute(order.signing.check.update, content)
                entry = await self._verdict(order.signing, entry)
            except SignatureMismatchError:
                await self._quarantine_content(entry, content, digest)
                raise
        order.flight.answer(
            {order.route.key: Inline(entry=entry, outcome=order.outcome, content=content)}
        )
        await self._parts.keep([(entry, content)])

    async def _large(self, order: Order, line: Line) -> bool:
        """False: upstream, asked a second time, has no such object any more."""
        transfer = line.transfer
        length = transfer.head.length
        entry = self._entry(order, transfer, length)
        desk = self._parts.desk
        try:
            desk.require_storing(entry.key)
            if length > self._parts.config.store.max_object:
                raise StoreError(entry.key, "larger than store.max_object")
            nbytes = length if length >= 0 else UNKNOWN_RESERVE_BYTES
            reservation = await desk.reserve(nbytes, entry)
            if reservation is None:
                raise StoreError(entry.key, "no room in the byte budget")
            partial = await desk.begin(
                entry,
                validator=transfer.head.strong_etag,
                length=length,
                reservation=reservation,
            )
        except StoreError as exc:
            if exc.trouble is None:
                self._parts.log.warning("pass-through", key=entry.key, reason=str(exc))
            if not await line.pass_through():
                return False
            await self._pass_through(order, line.transfer)
            return True
        file = GrowingFile(
            number=next(self._numbers),
            path=partial.path,
            entry=entry,
            length=length,
            landed=partial.landed,
        )
        await self._grow(order, line, partial, file)
        return True

    async def _grow(
        self, order: Order, line: Line, partial: PartialFile, file: GrowingFile
    ) -> None:
        desk = self._parts.desk
        is_settled = False
        failure = Failed(status=503, reason="the mirror is stopping", retry_after_s=RETRY_AFTER_S)
        try:
            if not await self._land(order, line, partial, file):
                failure = _PARTED
                return
            await line.aclose()
            digest = await desk.digest(partial)
            if digest != order.expected.digest:
                is_settled = True
                await self._quarantine(partial, _reason(order, digest))
                _disagree(order, digest)
            if order.signing is not None:
                try:
                    file.entry = await self._verdict(order.signing, file.entry)
                except SignatureMismatchError as exc:
                    is_settled = True
                    await self._quarantine(partial, str(exc))
                    raise
            file.verify()
            published = replace(file.entry, length=file.landed)
            stored = await desk.publish(partial, [published])
            is_settled = True
            file.publish(stored[0])
        except MirrorError as exc:
            failure = failed(exc)
            if isinstance(exc, StoreError):
                failure = structs.replace(failure, is_unstored=True)
            raise
        finally:
            file.fail(failure)
            if not is_settled:
                # Of a version that upstream does not have any more nothing can be completed.
                keep = file.is_kept and not failure.is_changed
                await desk.abandon(partial, keep=keep)

    async def _land(
        self, order: Order, line: Line, partial: PartialFile, file: GrowingFile
    ) -> bool:
        """Answer with the file and bring its bytes. False: nobody wants more than the ranges that
        were brought."""
        assembly = Assembly(
            self._parts,
            order.route,
            line=line,
            partial=partial,
            file=file,
            wanted=order.flight.wanted,
        )
        file.is_kept = not self._is_ranges_only(order, line.transfer)
        order.flight.answer({order.route.key: Growing(file=file)})
        try:
            if order.signing is not None:
                await self._parts.desk.compute(partial.tap, order.signing.check.update)
            if not file.is_kept and not await assembly.bring_wanted():
                return False
            await assembly.run()
        except StoreError as exc:
            if exc.trouble is None:
                landed_bytes = file.landed
                self._parts.log.error(
                    "body-left-by-store",
                    key=file.entry.key,
                    landed_bytes=landed_bytes,
                    reason=str(exc),
                )
            raise
        finally:
            await assembly.aclose()
        return True

    def _is_ranges_only(self, order: Order, transfer: Transfer) -> bool:
        is_large = transfer.head.length > self._parts.config.store.ranges_only_above
        return is_large and transfer.part is not None and not order.flight.wanted.is_whole

    async def _pass_through(self, order: Order, transfer: Transfer) -> None:
        relay = Relay(order.route.key)
        length = transfer.head.length
        entry = self._entry(order, transfer, length)
        # Later asks get a flight, and so a relay or room on the disk, of their own.
        self._parts.flights.detach(order.flight)
        order.flight.answer(
            {order.route.key: PassThrough(entry=entry, length=length, source=relay)}
        )
        try:
            async with asyncio.timeout(CLAIM_WAIT_S):
                await relay.claimed.wait()
            digest = await self._relay_chunks(order, transfer, relay)
            if digest != order.expected.digest:
                _disagree(order, digest)
            if order.signing is not None:
                await self._verdict(order.signing, entry)
            relay.finish()
            await relay.emptied()
        except TimeoutError:
            return  # every asker was cancelled before it could take the body
        except RelayClosedError:
            return  # its reader left: nothing is wrong with upstream or store
        except MirrorError as exc:
            relay.fail(exc)
            raise
        finally:
            relay.fail(StoreError(order.route.key, "the fill ended"))
            relay.close()

    async def _relay_chunks(self, order: Order, transfer: Transfer, relay: Relay) -> bytes:
        hasher = hashlib.sha256()

        def update(chunk: bytes) -> None:
            hasher.update(chunk)
            if order.signing is not None:
                order.signing.check.update(chunk)

        async for chunk in transfer.chunks():
            if len(chunk) >= THREAD_FROM_BYTES:
                await self._parts.desk.compute(update, chunk)
            else:
                update(chunk)
            await relay.put(chunk)
        return hasher.digest()

    async def _verdict(self, signing: Signing, entry: Entry) -> Entry:
        """Return the entry with what its signature proves. Raises SignatureMismatchError."""
        return await self._parts.desk.compute(signing.prove, entry)

    async def _quarantine_content(self, entry: Entry, content: bytes, digest: bytes) -> None:
        """Keep bytes that disagree for a human to look at, if there is room for them."""
        desk = self._parts.desk
        reservation = await desk.reserve(len(content)) if content and desk.is_storing else None
        if reservation is None:
            return
        try:
            # No validator: such a temp is never resumed, so it begins empty.
            partial = await desk.begin(
                entry, validator="", length=len(content), reservation=reservation
            )
        except StoreError as exc:
            self._parts.log.warning("not-quarantined", key=entry.key, reason=str(exc))
            return
        is_written = False
        try:
            await desk.write(partial, content)
            is_written = True
        except StoreError:
            return  # the mismatch is the event
        finally:
            if not is_written:
                await desk.abandon(partial, keep=False)
        await self._quarantine(partial, f"sha256 is {digest.hex()}")

    async def _quarantine(self, partial: PartialFile, reason: str) -> None:
        """Put the bytes aside; when that fails they go, and the mismatch is still the event."""
        try:
            await self._parts.desk.quarantine(partial, reason)
        except StoreError as exc:
            self._parts.log.warning("not-quarantined", path=partial.path, reason=str(exc))
            await self._parts.desk.abandon(partial, keep=False)


async def _sha256(desk: StoreDesk, content: bytes) -> bytes:
    if len(content) < THREAD_FROM_BYTES:
        return hashlib.sha256(content).digest()
    return await desk.compute(lambda: hashlib.sha256(content).digest())


def _reason(order: Order, digest: bytes) -> str:
    return f"expected {order.expected.digest.hex()} ({order.expected.proof}), got {digest.hex()}"


def _disagree(order: Order, digest: bytes) -> NoReturn:
    raise VerificationError(order.route.key, expected=order.expected.digest.hex(), got=digest.hex())
