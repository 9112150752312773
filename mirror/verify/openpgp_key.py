"""The release key: accepted by its pinned fingerprints, by nothing else.

Rules:
1. A block has one primary key; its fingerprint is pinned, or the block is refused.
2. Of its subkeys only pinned ones are used; the others never verify anything.
3. Self-signatures, subkey bindings, revocations and expiry are not read. The pins are the binding:
   an operator states both fingerprints, so no statement inside a downloaded file can add a key. And
   they could not carry that weight: the real key binds itself with SHA-1, which strict libraries
   refuse. Rotation and revocation are a change of the pins.
4. Used keys are version 4, RSA, 2048 bits or more.

A fingerprint is SHA-1 over the key packet (RFC 4880, section 12.2). An attack on a pin must find a
second key for a given fingerprint, not a collision: that stays out of reach (2^160 steps).

Units: `created_at` is Unix seconds. Does not: fetch the key (fill room).
Runs in: keeper. Pure.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa

from mirror.errors import VerificationError
from mirror.verify.digests import shown
from mirror.verify.openpgp_armour import dearmour
from mirror.verify.openpgp_packets import (
    TAG_PUBLIC_KEY,
    TAG_PUBLIC_SUBKEY,
    TAG_SIGNATURE,
    TAG_USER_ATTRIBUTE,
    TAG_USER_ID,
    Octets,
    Packet,
    read_packets,
)
from mirror.verify.openpgp_signature import RSA_ALGORITHMS, DetachedSignature

# The real block has 5,326 bytes; keys with many certifications have some hundred thousand.
KEY_LIMIT_BYTES = 1 << 20
# 2048 is what NIST SP 800-131A asks for; above 16384 OpenSSL refuses to compute (its DoS guard).
MODULUS_BITS = range(2048, 16384 + 1)

_VERSION = 4
_TAGS_BEHIND = frozenset((TAG_SIGNATURE, TAG_USER_ID, TAG_PUBLIC_SUBKEY, TAG_USER_ATTRIBUTE))


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One pinned RSA key; `fingerprint` is 40 upper-case hex digits."""

    fingerprint: str
    algorithm: int
    created_at: int
    modulus: int
    exponent: int

    @property
    def key_id(self) -> str:
        return self.fingerprint[-16:]

    def public_key(self) -> rsa.RSAPublicKey:
        """Raises: ValueError when the numbers are no RSA key."""
        return rsa.RSAPublicNumbers(self.exponent, self.modulus).public_key()

    def __repr__(self) -> str:
        return f"<SigningKey {self.key_id} rsa{self.modulus.bit_length()}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseKey:
    """The pinned keys of one block, the primary one first."""

    keys: tuple[SigningKey, ...]

    @property
    def fingerprint(self) -> str:
        """Of the primary key: 40 upper-case hex digits."""
        return self.keys[0].fingerprint

    def issuer(self, signature: DetachedSignature, source: str) -> SigningKey:
        """Return the pinned key that the signature names. Raises: VerificationError for others."""
        # Were two pinned keys to share a key id, the first one is taken: that can refuse a good
        # signature, never accept a bad one.
        for key in self.keys:
            if key.key_id == signature.key_id and signature.fingerprint in ("", key.fingerprint):
                return key
        names = " or ".join(key.key_id for key in self.keys)
        raise VerificationError(
            source,
            expected=f"a signature by {names}",
            got=f"one by {signature.fingerprint or signature.key_id}",
        )

    def __repr__(self) -> str:
        return f"<ReleaseKey {' '.join(key.key_id for key in self.keys)}>"


def read_release_key(armoured: bytes, fingerprints: Collection[str], source: str) -> ReleaseKey:
    """Return the pinned keys of the block; `fingerprints` are 40 hex digits each, in any case.

    Raises: VerificationError when the block is malformed or its primary key is not pinned.
    """
    pins = frozenset(fingerprint.upper() for fingerprint in fingerprints)
    content = dearmour(armoured, "PUBLIC KEY BLOCK", source, limit_bytes=KEY_LIMIT_BYTES)
    packets = read_packets(content, source)
    primary = _read_primary(next(packets), pins, source)  # dearmour never returns nothing
    keys = {primary.fingerprint: primary}
    # One at a time: a block of 1 MiB may hold 400,000 empty packets.
    for packet in packets:
        if packet.tag not in _TAGS_BEHIND:
            raise VerificationError(source, expected="one public key", got=f"packet {packet.tag}")
        if packet.tag == TAG_PUBLIC_SUBKEY:
            found = fingerprint_of(packet.body)
            if found is not None and found in pins:
                keys[found] = _read_key(packet.body, found, source)
    return ReleaseKey(keys=tuple(keys.values()))


def _read_primary(packet: Packet, pins: frozenset[str], source: str) -> SigningKey:
    if packet.tag != TAG_PUBLIC_KEY:
        raise VerificationError(source, expected="a public key", got=f"packet {packet.tag}")
    found = fingerprint_of(packet.body)
    if found is None or found not in pins:
        raise VerificationError(
            source,
            expected=f"a key pinned by {_shown_pins(pins)}",
            got=f"the key {found or 'of another version'}",
        )
    return _read_key(packet.body, found, source)


def fingerprint_of(body: bytes) -> str | None:
    """Return the fingerprint of a version 4 key packet; None for others, which no pin fits."""
    if body[:1] != bytes([_VERSION]) or len(body) > 0xFFFF:
        return None
    hashed = b"\x99" + struct.pack(">H", len(body)) + body
    return hashlib.sha1(hashed, usedforsecurity=False).hexdigest().upper()


def _shown_pins(pins: frozenset[str]) -> str:
    return " or ".join(sorted(pins)) or "a fingerprint (none is configured)"


def _read_key(body: bytes, fingerprint: str, source: str) -> SigningKey:
    octets = Octets(body, source)
    octets.take(1)  # the version, which the fingerprint covers
    created_at = octets.number(4)
    algorithm = octets.number(1)
    if algorithm not in RSA_ALGORITHMS:
        raise VerificationError(source, expected="an RSA key", got=f"algorithm {algorithm}")
    key = SigningKey(
        fingerprint=fingerprint,
        algorithm=algorithm,
        created_at=created_at,
        modulus=octets.mpi(),
        exponent=octets.mpi(),
    )
    octets.check_end()
    if key.modulus.bit_length() not in MODULUS_BITS:
        raise VerificationError(
            source,
            expected=f"{MODULUS_BITS.start} to {MODULUS_BITS.stop - 1} bits of RSA",
            got=f"{key.modulus.bit_length()}",
        )
    try:
        key.public_key()
    except ValueError as exc:
        raise VerificationError(source, expected="an RSA key", got=shown(str(exc))) from exc
    return key
