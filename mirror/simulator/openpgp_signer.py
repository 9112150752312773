"""OpenPGP signatures like those of Rust's releases, by a key made at run time.

Rules (RFC 4880, as the real signatures use it):
1. Signatures are ASCII-armoured, detached, version 4, type binary, RSA, with a creation time and an
   issuer key id, made by the primary key.
2. Of the hashes SHA-512 is the rule; SHA-256 and SHA-1 are what older releases have.
3. The private key lives in memory only and is never written anywhere.

Does not: verify (`verify` room; `gpgv` is the oracle in the tests).
Units: Unix seconds. Runs in: simulator.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512, HashAlgorithm

USER_ID = "Simulated Rust Release Signing Key <rust-key@simulator.invalid>"
KEY_CREATED_AT = 1_380_153_600  # 2013-09-26, the day of the real key

_TAG_SIGNATURE, _TAG_PUBLIC_KEY, _TAG_USER_ID = 2, 6, 13
_TYPE_BINARY, _TYPE_POSITIVE_CERTIFICATION = 0x00, 0x13
_ALGORITHM_RSA = 1
# hashlib's name, to the number (RFC 4880, section 9.4) and what `cryptography` calls it.
_HASHES: dict[str, tuple[int, HashAlgorithm]] = {
    "sha512": (10, SHA512()),
    "sha256": (8, SHA256()),
    "sha1": (2, SHA1()),
}
HASH_NAMES = tuple(_HASHES)


class Signer:
    """One RSA-2048 key with its user id."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        self._public = (
            struct.pack(">BIB", 4, KEY_CREATED_AT, _ALGORITHM_RSA)
            + _mpi(numbers.n)
            + _mpi(numbers.e)
        )

    @property
    def fingerprint(self) -> str:
        """The 40 hexadecimal digits, upper case."""
        hashed = b"\x99" + struct.pack(">H", len(self._public)) + self._public
        return hashlib.sha1(hashed, usedforsecurity=False).hexdigest().upper()

    def public_key(self) -> bytes:
        """Return the armoured key block: key, user id, self-signature."""
        user_id = USER_ID.encode()
        digest = hashlib.sha512()
        digest.update(b"\x99" + struct.pack(">H", len(self._public)) + self._public)
        digest.update(b"\xb4" + struct.pack(">I", len(user_id)) + user_id)
        key_flags = _subpacket(27, b"\x03")  # may certify and sign
        certification = self._sign(
            digest, _TYPE_POSITIVE_CERTIFICATION, KEY_CREATED_AT, further=key_flags
        )
        packets = (
            _packet(_TAG_PUBLIC_KEY, self._public) + _packet(_TAG_USER_ID, user_id) + certification
        )
        return _armour("PUBLIC KEY BLOCK", packets)

    def detached_signature(
        self, blocks: Iterable[bytes], signed_at: int, *, hash_name: str = "sha512"
    ) -> bytes:
        """Return the armoured detached signature of the content given in blocks.

        Raises: ValueError for a hash that no release was ever signed with.
        """
        if hash_name not in _HASHES:
            raise ValueError(f"hash {hash_name!r}: {', '.join(HASH_NAMES)}")
        digest = hashlib.new(hash_name, usedforsecurity=False)
        for block in blocks:
            digest.update(block)
        return _armour("SIGNATURE", self._sign(digest, _TYPE_BINARY, signed_at))

    def _sign(
        self, digest: hashlib._Hash, kind: int, signed_at: int, *, further: bytes = b""
    ) -> bytes:
        number, algorithm = _HASHES[digest.name]
        hashed = _subpacket(2, struct.pack(">I", signed_at)) + further
        head = struct.pack(">BBBBH", 4, kind, _ALGORITHM_RSA, number, len(hashed)) + hashed
        digest.update(head + b"\x04\xff" + struct.pack(">I", len(head)))
        summed = digest.digest()
        value = self._key.sign(summed, padding.PKCS1v15(), Prehashed(algorithm))
        unhashed = _subpacket(16, bytes.fromhex(self.fingerprint)[-8:])
        body = (
            head
            + struct.pack(">H", len(unhashed))
            + unhashed
            + summed[:2]
            + _mpi(int.from_bytes(value, "big"))
        )
        return _packet(_TAG_SIGNATURE, body)


def _mpi(value: int) -> bytes:
    bits = value.bit_length()
    return struct.pack(">H", bits) + value.to_bytes((bits + 7) // 8, "big")


def _subpacket(kind: int, body: bytes) -> bytes:
    return bytes([len(body) + 1, kind]) + body


def _packet(tag: int, body: bytes) -> bytes:
    """Return an old-format packet with a two-byte length."""
    return bytes([0x80 | tag << 2 | 1]) + struct.pack(">H", len(body)) + body


def _armour(title: str, packets: bytes) -> bytes:
    text = base64.b64encode(packets).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    checksum = base64.b64encode(_crc24(packets).to_bytes(3, "big")).decode()
    begin, end = f"-----BEGIN PGP {title}-----", f"-----END PGP {title}-----"
    return "\n".join([begin, "", *lines, "=" + checksum, end, ""]).encode()


def _crc24(content: bytes) -> int:
    """Return the checksum of RFC 4880, section 6.1."""
    crc = 0xB704CE
    for byte in content:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc
