"""The `.sha256` and `.asc` files beside archives and rustup binaries, compared with their subjects.

Rules:
1. A proof that agrees with its stored subject is good; nobody vouches for one without a subject.
2. A signature over a large subject is verified only when `is_whole` says so (it reads all of it);
   else it counts that the subject is still the one that it was verified with.

Runs in: commands and keeper (jobs).
"""

from __future__ import annotations

from mirror.errors import VerificationError
from mirror.jobs.chain import DIGEST_ONLY, NOBODY, Step, good, lost, moment, weak, wrong
from mirror.jobs.shelf import DamagedError, Shelf
from mirror.jobs.signatures import Signatures
from mirror.route.proofs import subject
from mirror.route.route import Route
from mirror.store.entry import Entry, Stored
from mirror.verify.digests import parse_sha256_file

AGREES = "agrees"


class ProofFiles:
    """Steps of proofs."""

    def __init__(self, shelf: Shelf, signatures: Signatures, *, is_whole: bool) -> None:
        self._shelf = shelf
        self._signatures = signatures
        self._is_whole = is_whole

    def steps(self, entry: Entry, route: Route) -> list[Step]:
        of = subject(route)
        stored = self._shelf.lookup(entry.key)
        vouched = None if of is None else self._shelf.lookup(of.key)
        if stored is None or vouched is None:
            return [_alone(entry)]
        if entry.key.endswith(".sha256"):
            return self._digest_file(stored, vouched.entry)
        return self._signature(stored, vouched)

    def _digest_file(self, stored: Stored, of: Entry) -> list[Step]:
        key = stored.entry.key
        try:
            stated = parse_sha256_file(self._shelf.content(stored), key)
        except DamagedError:
            raise
        except VerificationError as exc:
            return [wrong(key, exc.message)]
        if stated == of.digest:
            agreed = good(key, f"it states the digest of {of.key}, which is stored")
            return [agreed, weak(key, "nobody signs it", DIGEST_ONLY)]
        text = f"it states {stated.hex()}, the stored {of.key} is {of.digest.hex()}"
        if _agreed_with(stored.entry, of):
            return [wrong(key, text)]
        return [weak(key, f"{text}: one of the two is newer", NOBODY)]

    def _signature(self, stored: Stored, of: Stored) -> list[Step]:
        entry = stored.entry
        if not self._is_whole:
            if _agreed_with(entry, of.entry):
                text = f"verified over {of.entry.key} as it is stored, {moment(entry.verified_at)}"
                return [good(entry.key, text)]
            return [weak(entry.key, "not compared with its subject", NOBODY)]
        armoured = self._shelf.content(stored)
        pieces = self._shelf.pieces(of)
        found = self._signatures.steps(entry.key, entry, armoured, pieces)
        if _agreed_with(entry, of.entry) or entry.proof == AGREES:
            return found
        return [
            weak(entry.key, s.text, NOBODY)
            if s.about == entry.key and s.grade > s.grade.GOOD
            else s
            for s in found
        ]


def _agreed_with(entry: Entry, of: Entry) -> bool:
    name = entry.voucher.rpartition("@")[2]
    return entry.proof == AGREES and name in ("", of.digest.hex())


def _alone(entry: Entry) -> Step:
    if entry.proof == AGREES:
        text = f"it agreed with {entry.voucher} on {moment(entry.verified_at)}, not stored now"
        return lost(entry.key, text)
    return weak(entry.key, "what it is a proof of is not stored", NOBODY)
