"""What vouches for a channel's three files, and the entries that a switch to them writes.

Steps of `prove`, for `trust.channel_manifest = "signature"`:
1. The manifest's head: it is of this channel's name, and of the date of its directory.
2. The release key, and the signature over the manifest by it, in a thread.
3. A strong one makes a signed generation. A legacy release may lack it, or have SHA-1: then its
   `.sha256` has to do, and it is marked so. A bad signature, or one by another key, never does.

Rules:
1. All entries of a generation name it (`voucher`) and have one time, so that they age together. The
   key that signed is not kept: the stored `.asc` tells it again.
2. The generation before is kept under names that no request has, for clients that began with it.
3. A signed head is also what its dated directory has: the signer's date says so, and no other
   bytes may ever stand there. An unsigned one proves nothing about another path.

Runs in: keeper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mirror.errors import UpstreamError, VerificationError
from mirror.fill.channel_fetch import stated_date
from mirror.fill.channel_files import Arrived, ChannelFiles, RefusedError, TornError, dated_files
from mirror.fill.checks import check_content
from mirror.fill.entries import EntryMaker
from mirror.fill.outcomes import absence
from mirror.fill.parts import FillParts
from mirror.fill.release_key import ReleaseKeys
from mirror.fill.replies import Inline, Reply
from mirror.route.route import Route, Tempo
from mirror.store.entry import (
    DIGEST_GENERATION,
    SIGNED_GENERATION,
    Entry,
    Stored,
    former_key,
)
from mirror.verify.channel_manifest import ManifestHead, read_head
from mirror.verify.generations import LegacyLimits, check_date, check_name, is_legacy
from mirror.verify.openpgp import Grade, ReleaseKey, SignatureCheck, SignatureProof, read_signature

# One taken from its dated directory: the head's own files are asked for again soon.
RECOVERED_FRESH_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A generation with what vouches for it; `head` None: unreadable, and nobody asked for it.

    `is_recovered`: it came from its dated directory, in the place of the head. `signed_at` (Unix
    seconds) is what a strong signature says, else 0.
    """

    arrived: Arrived
    head: ManifestHead | None
    proof: str
    is_recovered: bool = False
    signed_at: int = 0

    @property
    def date(self) -> str:
        return "" if self.head is None else self.head.date


class Prover:
    """Judges generations by `[trust]`."""

    def __init__(self, parts: FillParts, keys: ReleaseKeys) -> None:
        trust = parts.config.trust
        self._parts = parts
        self._keys = keys
        self._limits = LegacyLimits(
            date=trust.legacy_before_date, version=trust.legacy_before_version
        )
        self.needs_signature = trust.channel_manifest == "signature"

    def is_legacy(self, files: ChannelFiles) -> bool:
        return is_legacy(files.name, files.date, self._limits)

    def is_enough(self, files: ChannelFiles, stored: Stored | None) -> bool:
        """Whether what vouches for a stored file of the channel is what is asked for today."""
        if stored is None or stored.entry.status != 200 or not self.needs_signature:
            return True
        return stored.entry.proof == SIGNED_GENERATION or self.is_legacy(files)

    async def prove(
        self, files: ChannelFiles, arrived: Arrived, *, date: str, key: ReleaseKey | None = None
    ) -> Proved:
        """Say what vouches for `arrived` as the channel of `files`; `date` "": any.

        `key` None: it is got when it is needed. Raises: RefusedError, TornError; UpstreamError when
        the key cannot be had; VerificationError for a signature that is none.
        """
        head = await self._head(files, arrived, date)  # step 1
        if not self.needs_signature:
            _check_armour(files, arrived)
            return Proved(arrived=arrived, head=head, proof=DIGEST_GENERATION)
        if arrived.signature is None:
            if self.is_legacy(files):
                return Proved(arrived=arrived, head=head, proof=DIGEST_GENERATION)
            seen = stated_date(arrived.manifest.content)
            raise TornError(files.signature.key, "the signature is not there", date=seen)
        key = key or await self._key(files)  # step 2
        signed = await self._signed(files, arrived, arrived.signature.content, key)
        if signed.grade is Grade.STRONG:  # step 3
            at = signed.created_at
            return Proved(arrived=arrived, head=head, proof=SIGNED_GENERATION, signed_at=at)
        if self.is_legacy(files):
            return Proved(arrived=arrived, head=head, proof=DIGEST_GENERATION)
        raise _refused(files.signature, arrived, "a signature over SHA-1 proves nothing")

    async def _head(self, files: ChannelFiles, arrived: Arrived, date: str) -> ManifestHead | None:
        head: ManifestHead | None = None
        try:
            head = await self._parts.desk.compute(read_head, arrived.manifest.content)
            if date:
                check_date(head, date, files.manifest.key)
            if self.needs_signature:
                check_name(head, files.name, files.manifest.key)
        except VerificationError as exc:
            if head is None and not self.needs_signature:
                return None  # a private tree may have anything that its .sha256 states
            raise _refused(files.manifest, arrived, exc.message) from exc
        return head

    async def _key(self, files: ChannelFiles) -> ReleaseKey:
        try:
            return await self._keys.get()
        except VerificationError as exc:
            # Not the fault of these files: told as trouble, with its own event behind it.
            raise UpstreamError(
                files.manifest.key, f"not the pinned release key: {exc.message}"
            ) from exc

    async def _signed(
        self, files: ChannelFiles, arrived: Arrived, armoured: bytes, key: ReleaseKey
    ) -> SignatureProof:
        try:
            return await self._parts.desk.compute(
                verify_signature, arrived.manifest.content, armoured, key, files.signature.key
            )
        except VerificationError as exc:
            raise _refused(files.signature, arrived, exc.message) from exc


def verify_signature(
    content: bytes, armoured: bytes, key: ReleaseKey, source: str
) -> SignatureProof:
    """Check a detached signature over `content`. Raises VerificationError."""
    check = SignatureCheck(read_signature(armoured, source), key, source)
    check.update(content)
    return check.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """What a switch answers, and what it writes in one transaction."""

    replies: Mapping[str, Reply]
    puts: Sequence[tuple[Entry, bytes]]
    absences: Sequence[Entry]


def switch_to(
    maker: EntryMaker, files: ChannelFiles, proved: Proved, *, now: float, outcome: str
) -> Switch:
    """Make the entries of a generation."""
    arrived = proved.arrived
    voucher = files.generation(arrived.manifest.digest)
    replies: dict[str, Reply] = {}
    puts: list[tuple[Entry, bytes]] = []
    absences: list[Entry] = []
    for route, fetched in zip(
        files.routes, (arrived.manifest, arrived.digest, arrived.signature), strict=True
    ):
        if fetched is None:
            absent = no_signature(maker, route, now, voucher)
            absences.append(_asked_again_soon(absent, now) if proved.is_recovered else absent)
            replies[route.key] = absence(absences[-1])
            continue
        entry = maker.present(
            route,
            digest=fetched.digest,
            head=fetched.head,
            length=len(fetched.content),
            now=now,
            proof=proved.proof,
            voucher=voucher,
        )
        if proved.is_recovered:
            entry = _asked_again_soon(entry, now)
        puts.append((entry, fetched.content))
        replies[route.key] = Inline(entry=entry, outcome=outcome, content=fetched.content)
    return Switch(replies=replies, puts=puts, absences=absences)


def no_signature(maker: EntryMaker, route: Route, now: float, voucher: str) -> Entry:
    """An absence that lasts as long as its generation, so that the three stay together."""
    entry = replace(maker.absent(route, now), voucher=voucher)
    if route.tempo is Tempo.FOREVER:
        return entry  # a dated signature may still be uploaded
    return maker.confirmed(entry, route, now)


def former_of(whole: Iterable[Stored]) -> list[Entry]:
    """Return what keeps a generation that is about to be replaced."""
    return [
        replace(stored.entry, key=former_key(stored.entry.key), fresh_until=math.inf)
        for stored in whole
    ]


def dated_copy(files: ChannelFiles, proved: Proved, entries: Iterable[Entry]) -> list[Entry]:
    """Return the same three blobs under the names that they have in their dated directory."""
    dated = None if files.is_dated else dated_files(files, proved.date)
    if dated is None or proved.proof != SIGNED_GENERATION:
        return []
    voucher = dated.generation(proved.arrived.manifest.digest)
    keys = dict(zip(files.keys, dated.keys, strict=True))
    return [
        replace(
            entry,
            key=keys[entry.key],
            fresh_until=math.inf,
            voucher=voucher,
            upstream_etag="",
            upstream_last_modified="",
        )
        for entry in entries
    ]


def _asked_again_soon(entry: Entry, now: float) -> Entry:
    """The same entry for a short while, without the validators of the path that it came from."""
    return replace(
        entry,
        fresh_until=min(entry.fresh_until, now + RECOVERED_FRESH_S),
        upstream_etag="",
        upstream_last_modified="",
    )


def _check_armour(files: ChannelFiles, arrived: Arrived) -> None:
    try:
        if arrived.signature is not None:
            check_content(files.signature, arrived.signature.content)
    except VerificationError as exc:
        raise _refused(files.signature, arrived, exc.message) from exc


def _refused(route: Route, arrived: Arrived, reason: str) -> RefusedError:
    return RefusedError(route.key, reason, date=stated_date(arrived.manifest.content))
