"""Keys, signatures and armour as an attacker writes them: every field can be given another value.

Rules:
1. What is forged is the form. Values are made by real RSA keys, so that a refusal is due to the
   named fault and not to a signature that was bad anyway.
2. Private keys are made once per run and live in memory.

Runs in: pytest.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256, SHA512, HashAlgorithm

KEY_CREATED_AT = 1_380_153_600
SIGNED_AT = 1_750_000_000
CREATED, EXPIRES, ISSUER, NOTATION, KEY_FLAGS, ISSUER_FINGERPRINT = 2, 3, 16, 20, 27, 33
POSITIVE_CERTIFICATION = 0x13
RSA, RSA_SIGN_ONLY, DSA, EDDSA = 1, 3, 17, 22
TAG_SIGNATURE, TAG_SECRET_KEY, TAG_PUBLIC_KEY, TAG_USER_ID, TAG_SUBKEY = 2, 5, 6, 13, 14

_HASHES: dict[str, tuple[int, HashAlgorithm]] = {
    "sha512": (10, SHA512()),
    "sha256": (8, SHA256()),
    "sha1": (2, SHA1()),  # what is tested
    "md5": (1, MD5()),  # what is tested
}


@functools.cache
def private_key(name: str, bits: int) -> rsa.RSAPrivateKey:
    """Return the key of that name and size, the same one for the whole run."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgedKey:
    name: str
    algorithm: int = RSA
    created_at: int = KEY_CREATED_AT
    bits: int = 2048
    version: int = 4
    tail: bytes = b""

    @property
    def body(self) -> bytes:
        numbers = private_key(self.name, self.bits).public_key().public_numbers()
        head = struct.pack(">BIB", self.version, self.created_at, self.algorithm)
        return head + mpi(numbers.n) + mpi(numbers.e) + self.tail

    @property
    def fingerprint(self) -> str:
        hashed = b"\x99" + struct.pack(">H", len(self.body)) + self.body
        return hashlib.sha1(hashed, usedforsecurity=False).hexdigest().upper()

    @property
    def key_id(self) -> bytes:
        return bytes.fromhex(self.fingerprint)[-8:]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgedSignature:
    """A good signature unless a field says otherwise; `None` means what a good one has."""

    key: ForgedKey
    content: bytes
    version: int = 4
    kind: int = 0x00
    algorithm: int = RSA
    hash_name: str = "sha512"
    hashed: bytes | None = None
    unhashed: bytes | None = None
    digest_start: bytes | None = None
    value: bytes | None = None
    tail: bytes = b""

    @property
    def body(self) -> bytes:
        number, algorithm = _HASHES[self.hash_name]
        hashed = creation_time() if self.hashed is None else self.hashed
        unhashed = subpacket(ISSUER, self.key.key_id) if self.unhashed is None else self.unhashed
        head = bytes([self.version, self.kind, self.algorithm, number]) + area(hashed)
        trailer = head + bytes([self.version, 0xFF]) + struct.pack(">I", len(head))
        summed = hashlib.new(self.hash_name, self.content + trailer).digest()
        value = mpi(self.number(summed, algorithm)) if self.value is None else self.value
        start = summed[:2] if self.digest_start is None else self.digest_start
        return head + area(unhashed) + start + value + self.tail

    def number(self, summed: bytes, algorithm: HashAlgorithm) -> int:
        key = private_key(self.key.name, self.key.bits)
        return int.from_bytes(key.sign(summed, padding.PKCS1v15(), Prehashed(algorithm)), "big")

    @property
    def packet(self) -> bytes:
        return packet(TAG_SIGNATURE, self.body)

    @property
    def armoured(self) -> bytes:
        return armour("SIGNATURE", self.packet)


def key_block(primary: ForgedKey, *subkeys: ForgedKey) -> bytes:
    packets = [
        packet(TAG_PUBLIC_KEY, primary.body),
        packet(TAG_USER_ID, b"Forged <forged@example.invalid>"),
        *(packet(TAG_SUBKEY, subkey.body) for subkey in subkeys),
    ]
    return armour("PUBLIC KEY BLOCK", b"".join(packets))


def certified_block(key: ForgedKey) -> bytes:
    """Return the key with a self-signature, without which gpgv knows no key."""
    user_id = b"Forged <forged@example.invalid>"
    hashed = b"\x99" + area(key.body) + b"\xb4" + struct.pack(">I", len(user_id)) + user_id
    certification = ForgedSignature(
        key=key,
        content=hashed,
        kind=POSITIVE_CERTIFICATION,
        hashed=creation_time(KEY_CREATED_AT) + subpacket(KEY_FLAGS, b"\x03"),
    )
    packets = packet(TAG_PUBLIC_KEY, key.body) + packet(TAG_USER_ID, user_id)
    return armour("PUBLIC KEY BLOCK", packets + certification.packet)


def creation_time(at: int = SIGNED_AT) -> bytes:
    return subpacket(CREATED, struct.pack(">I", at))


def notation(name: bytes, value: bytes) -> bytes:
    """Return a well-formed notation, which says nothing about the content."""
    return subpacket(NOTATION, bytes(4) + struct.pack(">HH", len(name), len(value)) + name + value)


def subpacket(kind: int, body: bytes, *, is_critical: bool = False) -> bytes:
    return bytes([len(body) + 1, kind | (0x80 if is_critical else 0)]) + body


def area(subpackets: bytes) -> bytes:
    return struct.pack(">H", len(subpackets)) + subpackets


def mpi(value: int) -> bytes:
    bits = value.bit_length()
    return struct.pack(">H", bits) + value.to_bytes((bits + 7) // 8, "big")


def packet(tag: int, body: bytes) -> bytes:
    """Return an old-format packet with a two-byte length."""
    return bytes([0x80 | tag << 2 | 1]) + struct.pack(">H", len(body)) + body


def armour(
    title: str, packets: bytes, *, headers: Sequence[str] = (), checksum: bool = True
) -> bytes:
    text = base64.b64encode(packets).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    if checksum:
        lines.append("=" + base64.b64encode(_crc24(packets).to_bytes(3, "big")).decode())
    begin, end = f"-----BEGIN PGP {title}-----", f"-----END PGP {title}-----"
    return "\n".join([begin, *headers, "", *lines, end, ""]).encode()


def _crc24(content: bytes) -> int:
    """Bit by bit, as RFC 4880 shows it: another way than the verifier's table."""
    crc = 0xB704CE
    for byte in content:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc
