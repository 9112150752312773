"""Detached OpenPGP signatures: exactly the kind that Rust's releases have, nothing else.

Rules (RFC 4880, section 5.2.3; whatever is unknown is refused, never guessed):
1. One signature packet: version 4, type 0x00 (binary document), RSA (1, or 3: sign only).
2. SHA-512 and SHA-256 are strong. SHA-1 is weak: collisions are made for some ten thousand dollars
   (SHA-1 is a Shambles, 2020), so whoever gets one file signed can have another one ready.
3. The creation time stands once, in the hashed area. A critical subpacket that is not read here
   refuses the signature, in either area.
4. The issuer is named by key id (16) in either area, or by fingerprint (33) in the hashed one, as
   GnuPG has it; all that name one, wherever, must agree. That only chooses the pinned key to check
   with; a false name cannot make a check pass.
5. A signature that expires is refused. This file has no clock, Rust's signatures never expire, and
   bytes that are proved today must not become unproved by waiting.

Units: `created_at` is Unix seconds, as the signer says. Does not: verify (mirror.verify.openpgp).
Runs in: keeper. Pure.
"""

from __future__ import annotations

import enum
import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mirror.errors import VerificationError
from mirror.verify.digests import shown
from mirror.verify.openpgp_armour import dearmour
from mirror.verify.openpgp_packets import (
    TAG_SIGNATURE,
    Octets,
    Subpacket,
    read_packets,
    read_subpackets,
)

# A signature by RSA-4096 takes 833 bytes of armour; one by RSA-16384 with notations below 8 KiB.
SIGNATURE_LIMIT_BYTES = 64 << 10
# GnuPG refuses longer areas (30,000 hashed and 10,000 unhashed bytes); real ones have 29 to 57.
AREA_LIMIT_BYTES = 10_000
RSA_ALGORITHMS = frozenset((1, 3))

_VERSION, _TYPE_BINARY = 4, 0x00
_FINGERPRINT_VERSION = b"\x04"
_HASH_NAMES = {10: "sha512", 8: "sha256", 2: "sha1"}
_CREATED, _EXPIRES, _ISSUER, _ISSUER_FINGERPRINT = 2, 3, 16, 33
_READ = frozenset((_CREATED, _EXPIRES, _ISSUER, _ISSUER_FINGERPRINT))


class Grade(enum.Enum):
    """What a good signature proves."""

    STRONG = "strong"  # the holder of the key signed these bytes
    WEAK = "weak"  # the same under SHA-1: never enough to call content verified


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachedSignature:
    """A well-formed signature that nobody has verified.

    `key_id` is 16 upper-case hex digits; `fingerprint` 40, or "" where the signer gave none;
    `hash_name` is "sha512", "sha256" or "sha1"; `hashed_part` is hashed behind the document.
    """

    key_id: str
    fingerprint: str
    algorithm: int
    hash_name: str
    created_at: int
    hashed_part: bytes
    digest_start: bytes  # two bytes
    value: int

    @property
    def grade(self) -> Grade:
        return Grade.WEAK if self.hash_name == "sha1" else Grade.STRONG

    def __repr__(self) -> str:
        return f"<DetachedSignature {self.key_id} {self.hash_name} {self.grade.value}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issuer:
    key_id: str
    fingerprint: str


def read_signature(armoured: bytes, source: str) -> DetachedSignature:
    """Return the one signature of the armoured text.

    Raises: VerificationError for anything that the rules of this module do not name.
    """
    content = dearmour(armoured, "SIGNATURE", source, limit_bytes=SIGNATURE_LIMIT_BYTES)
    packets = list(itertools.islice(read_packets(content, source), 2))
    tags = [packet.tag for packet in packets]
    if tags != [TAG_SIGNATURE]:
        raise VerificationError(
            source, expected="one signature packet", got=f"packets {shown(str(tags))}"
        )
    return _read_body(packets[0].body, source)


def _read_body(body: bytes, source: str) -> DetachedSignature:
    octets = Octets(body, source)
    _check_value(octets.number(1), {_VERSION}, "signature version", source)
    _check_value(octets.number(1), {_TYPE_BINARY}, "signature type", source)
    algorithm = octets.number(1)
    _check_value(algorithm, RSA_ALGORITHMS, "public key algorithm", source)
    hash_number = octets.number(1)
    _check_value(hash_number, _HASH_NAMES, "hash algorithm", source)
    hashed = _area(octets)
    hashed_length_bytes = len(body) - octets.left_bytes
    unhashed = _area(octets)
    digest_start = octets.take(2)
    value = octets.mpi()
    octets.check_end()
    issuer = _issuer(hashed, unhashed, source)
    return DetachedSignature(
        key_id=issuer.key_id,
        fingerprint=issuer.fingerprint,
        algorithm=algorithm,
        hash_name=_HASH_NAMES[hash_number],
        created_at=_created_at(hashed, source),
        hashed_part=_hashed_part(body[:hashed_length_bytes]),
        digest_start=digest_start,
        value=value,
    )


def _check_value(
    value: int, allowed: frozenset[int] | set[int] | dict[int, str], noun: str, source: str
) -> None:
    if value not in allowed:
        names = " or ".join(str(number) for number in sorted(allowed))
        raise VerificationError(source, expected=f"{noun} {names}", got=str(value))


def _area(octets: Octets) -> list[Subpacket]:
    length = octets.number(2)
    if length > AREA_LIMIT_BYTES:
        raise VerificationError(
            octets.source,
            expected=f"at most {AREA_LIMIT_BYTES} bytes of subpackets",
            got=f"{length}",
        )
    subpackets = list(read_subpackets(octets.take(length), octets.source))
    for subpacket in subpackets:
        if subpacket.is_critical and subpacket.kind not in _READ:
            raise VerificationError(
                octets.source,
                expected="critical subpackets that are understood",
                got=f"type {subpacket.kind}",
            )
    return subpackets


def _created_at(hashed: list[Subpacket], source: str) -> int:
    times = [item.body for item in hashed if item.kind == _CREATED]
    # Twice would let two readers see two times; RFC 4880 only advises which one to prefer.
    if len(times) != 1 or len(times[0]) != 4:
        raise VerificationError(
            source, expected="one creation time in the hashed area", got=f"{len(times)}"
        )
    # In the unhashed area nobody signed it: ignored there, as GnuPG does.
    if any(item.kind == _EXPIRES for item in hashed):
        raise VerificationError(
            source, expected="a signature that does not expire", got="an expiration time"
        )
    return int.from_bytes(times[0], "big")


def _issuer(hashed: list[Subpacket], unhashed: list[Subpacket], source: str) -> _Issuer:
    key_ids = {item.body for item in (*hashed, *unhashed) if item.kind == _ISSUER}
    key_ids |= {fingerprint[-8:] for fingerprint in _fingerprints(hashed, source)}
    fingerprints = set(_fingerprints([*hashed, *unhashed], source))
    agreeing = key_ids | {fingerprint[-8:] for fingerprint in fingerprints}
    if not key_ids or len(agreeing) > 1 or len(fingerprints) > 1:
        names = sorted(name.hex().upper() for name in key_ids | fingerprints)
        raise VerificationError(source, expected="one issuer", got=shown(" ".join(names) or "none"))
    key_id = key_ids.pop()
    if len(key_id) != 8:
        raise VerificationError(source, expected="8 bytes of key id", got=shown(key_id))
    fingerprint = fingerprints.pop() if fingerprints else b""
    return _Issuer(key_id=key_id.hex().upper(), fingerprint=fingerprint.hex().upper())


def _fingerprints(subpackets: list[Subpacket], source: str) -> Iterator[bytes]:
    for item in subpackets:
        if item.kind == _ISSUER_FINGERPRINT:
            if len(item.body) != 21 or item.body[:1] != _FINGERPRINT_VERSION:
                raise VerificationError(
                    source, expected="the fingerprint of a version 4 key", got=shown(item.body)
                )
            yield item.body[1:]


def _hashed_part(head: bytes) -> bytes:
    """Return what RFC 4880, section 5.2.4, hashes behind the document."""
    return head + struct.pack(">BBI", _VERSION, 0xFF, len(head))
