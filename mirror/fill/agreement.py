"""Answer a `.sha256` or `.asc` only when it agrees with its subject.

A proof is a body like any other: one flipped byte in it makes whoever checks with it refuse good
bytes, or trust bad ones. Nothing vouches for a proof but its subject.

Steps:
1. The proof is fetched (`proof_files`); a stored one that upstream confirms agreed before.
2. A `.sha256`: the digest that it states is compared with the one in the verified manifest, else
   with that of the stored subject, else the subject is filled first: whoever asks for a proof asks
   for the body next, so its bytes are fetched once either way.
3. An `.asc`: its signature is checked over the subject's bytes, read back in a thread. They are
   read only when somebody asks for the `.asc`.
4. A subject that moves may have moved since it was stored: then it is brought up to date once.

Rules:
1. What disagrees, or is no proof at all, is an event, is not stored and not answered; the next try
   asks upstream again.
2. A proof without a subject is a 502: it cannot be checked, and to pass it on would be to vouch for
   it. It is no 404 either: upstream does have it.
3. Without a pinned key (`channel_manifest` and `archive` are "digest") an `.asc` is checked for its
   form only. One over SHA-1 of a legacy release must be good, and still counts as form only.
4. This waits for flights of subjects, channels and the key; none of those waits for a proof's.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from mirror.errors import MirrorError, UpstreamError, VerificationError
from mirror.fill.flights import Flight
from mirror.fill.growing import GrowingFile
from mirror.fill.manifests import StoredManifests, intact
from mirror.fill.messages import Failed, StoredAnswer
from mirror.fill.objects import ANY_TIME
from mirror.fill.outcomes import STALE_HOLD_S, Outcomes
from mirror.fill.parts import FillParts
from mirror.fill.proof_files import AGREES, ProofFile, ProofFiles
from mirror.fill.replies import (
    FILLED,
    REFILLED,
    Growing,
    Inline,
    PassThrough,
    Reply,
    error_of,
    failed,
)
from mirror.fill.signatures import SignatureMismatchError, Signatures, Signing
from mirror.route.proofs import subject as subject_of
from mirror.route.route import Route, Tempo
from mirror.store.entry import Stored
from mirror.verify.digests import parse_sha256_file
from mirror.verify.openpgp import Grade, read_signature


class DisagreementError(VerificationError):
    """A `.sha256` of the right form states another digest than its subject has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A body whose bytes were verified: in the store, in memory, or gone to its reader.

    `is_taken`: every byte of it was given to who asked, as it came.
    """

    digest: bytes
    is_stale: bool = False
    is_taken: bool = False
    stored: Stored | None = None
    content: bytes | None = None


Take = Callable[[bytes], Awaitable[None]]


class Subjects(Protocol):
    """The flights of subjects (the filler)."""

    async def verified(
        self, route: Route, *, since: float = ANY_TIME, take: Take | None = None
    ) -> Subject | None:
        """Return the body once it is verified; None: upstream has none. Raises UpstreamError.

        `take` is given the bytes of a body for which there is no room, and of no other.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """`proof` as in an entry; `digest` of the subject that was compared."""

    proof: str
    digest: bytes


class Agreements:
    """The procedure of a flight for one proof."""

    def __init__(
        self,
        parts: FillParts,
        subjects: Subjects,
        manifests: StoredManifests,
        signatures: Signatures,
    ) -> None:
        self._parts = parts
        self._subjects = subjects
        self._manifests = manifests
        self._signatures = signatures
        self._files = ProofFiles(parts)
        self._outcomes = Outcomes(parts)

    async def fill(self, flight: Flight, route: Route) -> None:
        current = self._parts.desk.current(route.key)
        subject = subject_of(route)
        if subject is None:
            raise ValueError(f"{route.key} is no proof")
        try:
            file = await self._files.find(route, may_be_stale=False)
            if file is None:
                await self._outcomes.absent(flight, route)
                return
            if file.stored is not None:
                outcome = "fwd=stale; fwd-status=304"
                flight.answer({route.key: StoredAnswer(stored=file.stored, outcome=outcome)})
                return
            verdict = await self._judged(file, subject)
        except MirrorError as exc:
            if isinstance(exc, VerificationError):
                is_other = isinstance(exc, DisagreementError | SignatureMismatchError)
                self._refused(flight, "proof-refused" if is_other else "content-refused", exc)
            self._outcomes.trouble(flight, {route.key: current}, exc)
            return
        await self._answer(flight, file, subject, verdict)

    async def _answer(
        self, flight: Flight, file: ProofFile, subject: Route, verdict: _Verdict
    ) -> None:
        """Race: (1) this compares a proof with a subject, (2) the subject's fill replaces both,
        (3) this stores the proof it had. Nothing is awaited between the comparison and `keep`, and
        commits are made in the order in which they are asked for, so (2) is stored behind it."""
        entry = self._files.entry(file, subject, verdict.digest, verdict.proof)
        is_first = self._parts.desk.lookup(file.route.key) is None
        outcome = FILLED if is_first else REFILLED
        answer = Inline(entry=entry, outcome=outcome, content=file.content)
        flight.answer({file.route.key: answer})
        await self._parts.keep([(entry, file.content)])

    async def _judged(self, file: ProofFile, subject: Route) -> _Verdict:
        if file.route.key.endswith(".sha256"):
            return await self._judged_digest(file, subject)
        if not self._signatures.is_key_pinned:
            read_signature(file.content, file.route.key)
            return _Verdict(proof="parsed", digest=b"")
        try:
            return await self._judged_signature(file, subject, ANY_TIME)
        except SignatureMismatchError:
            if subject.tempo is Tempo.FOREVER:
                raise
        return await self._judged_signature(file, subject, self._parts.clock.now())

    async def _judged_digest(self, file: ProofFile, subject: Route) -> _Verdict:
        key = file.route.key
        stated = parse_sha256_file(file.content, key)
        digest = await self._known_digest(subject)
        if digest != stated and (digest is None or subject.tempo is not Tempo.FOREVER):
            since = ANY_TIME if digest is None else self._parts.clock.now()
            digest = (await self._subject(file, subject, since)).digest
        if digest != stated:
            raise DisagreementError(key, expected=digest.hex(), got=stated.hex())
        return _Verdict(proof=AGREES, digest=digest)

    async def _known_digest(self, subject: Route) -> bytes | None:
        stated = await self._manifests.find(subject)
        if stated is not None:
            return stated.digest
        stored = await intact(self._parts.desk, subject.key)
        return None if stored is None else stored.entry.digest

    async def _judged_signature(self, file: ProofFile, subject: Route, since: float) -> _Verdict:
        signing = await self._signatures.check_of(file, subject)
        stored = await intact(self._parts.desk, subject.key) if since == ANY_TIME else None
        if stored is not None:
            body = Subject(digest=stored.entry.digest, stored=stored)
        else:
            body = await self._subject(file, subject, since, signing)
        await self._feed(signing, body, subject)
        await self._parts.desk.compute(signing.verdict)
        if signing.grade is Grade.WEAK:
            return _Verdict(proof="parsed", digest=b"")
        return _Verdict(proof=AGREES, digest=body.digest)

    async def _feed(self, signing: Signing, body: Subject, subject: Route) -> None:
        desk = self._parts.desk
        if body.is_taken:
            return
        if body.content is not None:
            await desk.compute(signing.check.update, body.content)
        elif body.stored is None or not await desk.feed(body.stored, signing.check.update):
            raise UpstreamError(subject.key, "its bytes are not here to be checked")

    async def _subject(
        self, file: ProofFile, subject: Route, since: float, signing: Signing | None = None
    ) -> Subject:
        compute = self._parts.desk.compute
        take = None if signing is None else partial(compute, signing.check.update)
        found = await self._subjects.verified(subject, since=since, take=take)
        if found is None:
            raise UpstreamError(
                file.route.key, "upstream has a proof of nothing", retryable=False, status=502
            )
        if found.is_stale and since != ANY_TIME:
            raise UpstreamError(file.route.key, "its subject cannot be checked at the moment")
        return found

    def _refused(self, flight: Flight, event: str, error: VerificationError) -> None:
        self._parts.log.error(event, key=flight.key, expected=error.expected, got=error.got)
        self._parts.flights.hold(flight.key, failed(error), for_s=STALE_HOLD_S)


async def verified_subject(route: Route, reply: Reply, take: Take | None = None) -> Subject | None:
    """Wait until the body of `reply` is verified; see `Subjects`. Raises UpstreamError when it is
    not."""
    if isinstance(reply, Growing):
        await _ended(reply.file)
        if reply.file.failure is None:
            return Subject(digest=reply.file.entry.digest, stored=reply.file.stored)
        reply = reply.file.failure
    if isinstance(reply, PassThrough):
        try:
            while piece := await reply.source.read():
                if take is not None:
                    await take(piece)
        finally:
            reply.source.close()
        return Subject(digest=reply.entry.digest, is_taken=take is not None)
    if isinstance(reply, Failed):
        raise error_of(route.key, reply)
    if isinstance(reply, Inline):
        return Subject(digest=reply.entry.digest, content=reply.content)
    entry = reply.stored.entry
    if entry.status != 200:
        return None
    return Subject(digest=entry.digest, stored=reply.stored, is_stale=reply.is_stale)


async def _ended(file: GrowingFile) -> None:
    over = asyncio.Event()

    def moved(file: GrowingFile) -> None:
        if file.is_over:
            over.set()

    file.subscribe(moved)
    try:
        moved(file)
        await over.wait()
    finally:
        file.unsubscribe(moved)
