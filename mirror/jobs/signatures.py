"""Stored signatures verified again, with the release key that is stored or configured.

Rules:
1. The key counts only when its fingerprints are the pinned ones, wherever it comes from.
2. Without a key nothing is said to be verified: the step says that it could not be repeated.
   Another key than the pinned one breaks every chain that ends in it.

Runs in: commands and keeper (jobs).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mirror.config import Trust
from mirror.errors import MirrorError, StoreError, VerificationError
from mirror.jobs.chain import WEAK_HASH, Step, good, lost, moment, weak, wrong
from mirror.jobs.shelf import DamagedError, Shelf
from mirror.store.entry import Entry
from mirror.verify.openpgp import (
    Grade,
    ReleaseKey,
    SignatureCheck,
    read_release_key,
    read_signature,
)

RELEASE_KEY = "releases:/rust-key.gpg.ascii"


class Signatures:
    """Verifies against one release key, read once."""

    def __init__(self, shelf: Shelf, trust: Trust) -> None:
        self._shelf = shelf
        self._trust = trust
        self._key: ReleaseKey | MirrorError | None = None

    @property
    def key_source(self) -> str:
        return self._trust.release_key_file or RELEASE_KEY

    def read_key(self, armoured: bytes, source: str) -> ReleaseKey:
        """Return the key if it is the pinned one. Raises VerificationError."""
        return read_release_key(armoured, self._trust.release_key_fingerprints, source)

    def steps(
        self, about: str, signature: Entry, armoured: bytes, pieces: Iterable[bytes]
    ) -> list[Step]:
        """Verify `armoured`, the content of `signature`, over the pieces of the object `about`."""
        key = self._release_key()
        if isinstance(key, VerificationError):
            return [wrong(self.key_source, f"the release key is not the pinned one: {key.message}")]
        if isinstance(key, MirrorError):
            text = f"the signature {signature.key} cannot be checked again here: {key.message}"
            return [lost(about, text, "its signature cannot be checked again")]
        try:
            parsed = read_signature(armoured, signature.key)
            check = SignatureCheck(parsed, key, about)
            for piece in pieces:
                check.update(piece)
            proof = check.finish()
        except DamagedError as exc:
            return [wrong(exc.source, exc.message)]
        except VerificationError as exc:
            return [wrong(signature.key, f"the stored signature does not verify: {exc.message}")]
        text = (
            f"the signature {signature.key}, verified again: {proof.hash_name} of"
            f" {moment(proof.created_at)}, made by the key {proof.fingerprint}"
        )
        if proof.grade is Grade.WEAK:
            return [weak(about, text + "; SHA-1 proves nothing any more", WEAK_HASH)]
        pinned = (
            f"that fingerprint is pinned in [trust] release_key_fingerprints; the key was read"
            f" from {self.key_source}"
        )
        return [good(about, text), good(about, pinned)]

    def _release_key(self) -> ReleaseKey | MirrorError:
        if self._key is None:
            try:
                self._key = self.read_key(self._armoured_key(), self.key_source)
            except MirrorError as exc:
                self._key = exc
        return self._key

    def _armoured_key(self) -> bytes:
        file = self._trust.release_key_file
        if file:
            try:
                return Path(file).read_bytes()
            except OSError as exc:
                reason = exc.strerror or "cannot be read"
                raise StoreError(file, reason, noun="release key file") from exc
        stored = self._shelf.lookup(RELEASE_KEY)
        if stored is None:
            raise StoreError(RELEASE_KEY, "the release key is not stored", noun="object")
        return self._shelf.content(stored)
