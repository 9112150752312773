"""Verify detached OpenPGP signatures while the content streams by.

Steps of one check, marked in the code:
1. The issuer that the signature names is a pinned key (openpgp_key).
2. The signature's algorithm is that key's, it is not older than the key, its value is below the
   modulus.
3. The content is hashed piece by piece, then the signature's own hashed part.
4. The first two bytes of the digest are those in the signature: not a proof, but what RFC 4880
   signers write; another value means a damaged or forged packet.
5. RSA (PKCS #1 v1.5) over the digest, by OpenSSL.

Rules:
1. A check ends in a proof or in VerificationError; there is no bool to forget.
2. A proof of grade WEAK (SHA-1) is never "verified": callers look at `grade`.
3. A signature says who made the bytes, not which name or date they have: yesterday's manifest is as
   well signed as today's (the rollback guard is elsewhere).

Memory is constant, whatever the content's size. Speed is the hash's own (benchmarks/signatures.py);
hashing releases the interpreter lock, so callers feed it off the event loop.
Runs in: keeper. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from mirror.errors import VerificationError
from mirror.verify.openpgp_key import ReleaseKey, SigningKey, read_release_key
from mirror.verify.openpgp_signature import DetachedSignature, Grade, read_signature

__all__ = (
    "DetachedSignature",
    "Grade",
    "ReleaseKey",
    "SignatureCheck",
    "SignatureProof",
    "SigningKey",
    "read_release_key",
    "read_signature",
)

_ALGORITHMS: dict[str, hashes.HashAlgorithm] = {
    "sha512": hashes.SHA512(),
    "sha256": hashes.SHA256(),
    "sha1": hashes.SHA1(),  # noqa: S303  # graded weak, never "verified"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureProof:
    """`fingerprint` (40 upper-case hex digits) is the pinned key that signed the content.

    `created_at` (Unix seconds) is what the signer says. A WEAK `grade` is never "verified".
    """

    fingerprint: str
    hash_name: str
    created_at: int
    grade: Grade


class SignatureCheck:
    """One content against one signature: `update` with every piece in order, then `finish`."""

    def __init__(self, signature: DetachedSignature, key: ReleaseKey, source: str) -> None:
        """`source` names the content in errors.

        Raises: VerificationError when no pinned key can have made the signature.
        """
        self._signature = signature
        self._source = source
        self._key = key.issuer(signature, source)  # step 1
        self._check_fit()  # step 2
        self._digest = hashlib.new(signature.hash_name, usedforsecurity=False)

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Hash the next piece of the content."""
        self._digest.update(piece)  # step 3

    def finish(self) -> SignatureProof:
        """Return the proof; it may be asked for again, the check keeps its state.

        Raises: VerificationError when the content is not what was signed.
        """
        digest = self._digest.copy()
        digest.update(self._signature.hashed_part)
        summed = digest.digest()
        if summed[:2] != self._signature.digest_start:  # step 4
            raise self._bad()
        self._verify(summed)  # step 5
        return SignatureProof(
            fingerprint=self._key.fingerprint,
            hash_name=self._signature.hash_name,
            created_at=self._signature.created_at,
            grade=self._signature.grade,
        )

    def __repr__(self) -> str:
        return f"<SignatureCheck {self._source} {self._signature!r}>"

    def _check_fit(self) -> None:
        signature, key = self._signature, self._key
        if signature.algorithm != key.algorithm:
            raise VerificationError(
                self._source, expected=f"algorithm {key.algorithm}", got=f"{signature.algorithm}"
            )
        if signature.created_at < key.created_at:
            raise VerificationError(
                self._source,
                expected=f"a signature made after its key ({key.created_at})",
                got=f"one of {signature.created_at}",
            )
        if signature.value >= key.modulus:
            raise VerificationError(
                self._source, expected="a value below the modulus", got="one above it"
            )

    def _verify(self, summed: bytes) -> None:
        # The number has lost its leading zeros; OpenSSL wants the modulus's whole length.
        length = (self._key.modulus.bit_length() + 7) // 8
        algorithm = _ALGORITHMS[self._signature.hash_name]
        try:
            self._key.public_key().verify(
                self._signature.value.to_bytes(length, "big"),
                summed,
                padding.PKCS1v15(),
                Prehashed(algorithm),
            )
        except InvalidSignature as exc:
            raise self._bad() from exc

    def _bad(self) -> VerificationError:
        return VerificationError(
            self._source,
            expected=f"content signed by {self._key.fingerprint}",
            got=f"other content or a bad {self._signature.hash_name} signature",
        )
