"""Detached signatures of archives and version 1 channel files, checked while the bytes land.

Steps:
1. Who needs one: archives while `[trust] archive` is "signature", version 1 channel files while
   `channel_manifest` is: unsigned, they would be a way around a signed channel.
2. The `.asc` is fetched before the body and read; its issuer must be a pinned key.
3. The body is hashed for it in the thread that writes and hashes it anyway, in the same pass.
4. `verdict`, before the end of the body is released and before it is published.

Rules:
1. A release from before `legacy_before_date` or `legacy_before_version` may have no signature, or a
   good one over SHA-1: then its digest proof stands alone, and nobody says signed. A bad one, or
   one by another key, is refused, as for a channel.
2. For everything else SHA-1 is as good as none, and none is a failure.
3. What was stored before a signature was required is withdrawn at the start, the bytes kept. So are
   signatures and the key of which only the form was looked at while no key was pinned.

Runs in: keeper.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

from mirror.errors import MirrorError, VerificationError
from mirror.fill.parts import FillParts
from mirror.fill.proof_files import ProofFile, ProofFiles
from mirror.route.dist import channel_of, dated
from mirror.route.match import route_of_key
from mirror.route.proofs import channel_named, sibling
from mirror.route.proofs import subject as subject_of
from mirror.route.route import Kind, Route
from mirror.store.entry import Entry
from mirror.verify.generations import LegacyLimits, is_legacy
from mirror.verify.openpgp import (
    Grade,
    ReleaseKey,
    SignatureCheck,
    SignatureProof,
    read_signature,
)

_DIGEST_PROOFS = ("manifest", "sha256")
_FORM_PROOF = "parsed"
_PROVING = (".asc", ".gpg.ascii")


class KeyHolder(Protocol):
    """Has the release key (`fill.release_key`)."""

    async def get(self) -> ReleaseKey:
        """Raises UpstreamError (503) while it cannot be had, VerificationError for another key."""
        ...


class SignatureMismatchError(VerificationError):
    """A body, or its `.asc`, is not what the pinned key signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """One signature being compared with one body; feed `check` the whole body once, in order."""

    file: ProofFile
    check: SignatureCheck
    grade: Grade

    def prove(self, entry: Entry) -> Entry:
        """Return the entry with what the verdict proves: under SHA-1 nothing is added to it.

        Raises: SignatureMismatchError.
        """
        proof = self.verdict()
        if proof.grade is Grade.WEAK:
            return entry
        return replace(entry, proof="signature", voucher=proof.fingerprint)

    def verdict(self) -> SignatureProof:
        """Raises SignatureMismatchError. Takes 0.1 ms behind the hashing."""
        try:
            proof = self.check.finish()
        except VerificationError as exc:
            _mismatch(exc)
        return proof


class Signatures:
    """Knows which bodies need a signature, and reads them."""

    def __init__(self, parts: FillParts, files: ProofFiles, keys: KeyHolder) -> None:
        self._parts = parts
        self._files = files
        self._keys = keys

    @property
    def is_key_pinned(self) -> bool:
        """Whether this mirror knows whose signatures count; a private tree need not have any."""
        trust = self._parts.config.trust
        return "signature" in (trust.channel_manifest, trust.archive)

    def is_needed(self, subject: Route) -> bool:
        trust = self._parts.config.trust
        if subject.kind is Kind.ARCHIVE:
            return trust.archive == "signature"
        return subject.kind is Kind.CHANNEL_V1 and trust.channel_manifest == "signature"

    def is_legacy(self, subject: Route) -> bool:
        """Whether the release that `subject` belongs to may lack a good signature."""
        trust = self._parts.config.trust
        channel = channel_of(subject)
        return is_legacy(
            channel_named(subject) if channel is None else channel.name,
            dated(subject) or "",
            LegacyLimits(date=trust.legacy_before_date, version=trust.legacy_before_version),
        )

    async def withdraw_unsigned(self) -> bool:
        """Withdraw what was stored while its signature was not required; before workers are served.

        The blobs stay: the next ask costs the `.asc` and a look at them. Never raises, except
        CancelledError; False: it could not be done.
        """
        desk = self._parts.desk
        try:
            found = [
                entry.key
                for proof in _DIGEST_PROOFS
                for entry in await desk.compute(desk.entries_of_proof, proof)
            ]
            gone = [key for key in found if self._is_unsigned(key)]
            if self.is_key_pinned:
                formed = await desk.compute(desk.entries_of_proof, _FORM_PROOF)
                gone += [entry.key for entry in formed if self._is_unchecked(entry.key)]
            if gone:
                await desk.withdraw(gone)
                self._parts.log.warning("unsigned-withdrawn", keys=gone[:20], entries=len(gone))
        except MirrorError as exc:
            self._parts.log.error("unsigned-not-withdrawn", reason=str(exc))
            return False
        return True

    def _is_unsigned(self, key: str) -> bool:
        route = route_of_key(key)
        return route is not None and self.is_needed(route) and not self.is_legacy(route)

    def _is_unchecked(self, key: str) -> bool:
        """Whether what `key` names proves something, though only its form was checked."""
        if not key.endswith(_PROVING):  # first: most keys are those of index files
            return False
        route = route_of_key(key)
        subject = None if route is None else subject_of(route)
        return subject is None or not self.is_legacy(subject)

    async def begin(self, subject: Route) -> Signing | None:
        """Return the check that the body of `subject` must pass; None: it needs none.

        Raises: SignatureMismatchError, also when upstream has none; UpstreamError.
        """
        if not self.is_needed(subject):
            return None
        file = await self._files.find(sibling(subject, ".asc"))
        if file is not None:
            return await self.check_of(file, subject)
        if self.is_legacy(subject):
            return None
        raise SignatureMismatchError(
            subject.key, expected="a signature beside it", got="none upstream"
        )

    async def check_of(self, file: ProofFile, subject: Route) -> Signing:
        """Return the check; WEAK is its grade only where that may be so (rule 1).

        Raises: SignatureMismatchError, UpstreamError without the key.
        """
        key = await self._keys.get()
        try:
            signature = read_signature(file.content, file.route.key)
            check = SignatureCheck(signature, key, file.route.key)
            if signature.grade is Grade.WEAK and not self.is_legacy(subject):
                raise VerificationError(
                    file.route.key, expected="SHA-512 or SHA-256", got=signature.hash_name
                )
        except VerificationError as exc:
            _mismatch(exc)
        return Signing(file=file, check=check, grade=signature.grade)


def _mismatch(error: VerificationError) -> NoReturn:
    raise SignatureMismatchError(error.source, expected=error.expected, got=error.got) from error
