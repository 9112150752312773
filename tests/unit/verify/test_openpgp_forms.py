"""`mirror.verify.openpgp` beside gpgv over many forms of good signatures: never the laxer one.

Every combination of subpackets, lengths and armour below is made with a good signature value.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path

from mirror.verify.openpgp import read_release_key
from tests.unit.verify.openpgp_forge import (
    CREATED,
    EXPIRES,
    ISSUER,
    ISSUER_FINGERPRINT,
    NOTATION,
    SIGNED_AT,
    ForgedKey,
    ForgedSignature,
    armour,
    certified_block,
    creation_time,
    notation,
    subpacket,
)
from tests.unit.verify.openpgp_vectors import Gpgv, is_accepted, needs_gpgv

KEY = ForgedKey(name="primary")
OTHER = ForgedKey(name="other")
CONTENT = b"content"
_TIME = creation_time()
_BY_ID = subpacket(ISSUER, KEY.key_id)
_BY_FINGERPRINT = subpacket(ISSUER_FINGERPRINT, b"\4" + bytes.fromhex(KEY.fingerprint))
_BY_OTHER = subpacket(ISSUER_FINGERPRINT, b"\4" + bytes.fromhex(OTHER.fingerprint))
_UNKNOWN = subpacket(60, b"x")
_UNKNOWN_CRITICAL = subpacket(60, b"x", is_critical=True)

HASHED = (
    _TIME,
    b"",
    _TIME + _BY_ID,
    _TIME + _BY_FINGERPRINT,
    _TIME + _BY_OTHER,
    _TIME + _UNKNOWN,
    _TIME + _UNKNOWN_CRITICAL,
    _TIME + notation(b"a@b", b"c"),
    _TIME + subpacket(NOTATION, b"", is_critical=True),
    _TIME + subpacket(EXPIRES, bytes(4)),
    subpacket(CREATED, struct.pack(">I", SIGNED_AT), is_critical=True),
    _TIME + subpacket(ISSUER, KEY.key_id, is_critical=True),
    _TIME + subpacket(ISSUER_FINGERPRINT, _BY_FINGERPRINT[2:], is_critical=True),
)
UNHASHED = (
    _BY_ID,
    b"",
    _BY_FINGERPRINT,
    _BY_ID + _BY_FINGERPRINT,
    _BY_ID + _BY_ID,
    _BY_ID + _UNKNOWN,
    _UNKNOWN_CRITICAL + _BY_ID,
    _BY_ID + creation_time(1),
    _BY_ID + subpacket(EXPIRES, b"\0\0\0\1"),
    _BY_ID + subpacket(EXPIRES, b"\0\0\0\1", is_critical=True),
    subpacket(ISSUER, KEY.key_id, is_critical=True),
    subpacket(ISSUER, OTHER.key_id),
    _BY_ID + notation(b"a@b", b"c"),
    _BY_ID + subpacket(NOTATION, b"x"),
    _BY_ID + subpacket(CREATED, b"x"),
    _BY_ID + b"\xff\0\0\0\x02\x3cx",
)


def _heads(body: bytes) -> tuple[bytes, ...]:
    size = len(body)
    return (
        b"\x89" + struct.pack(">H", size),
        b"\x8a" + struct.pack(">I", size),
        b"\xc2" + struct.pack(">H", size - 192 + 0xC000),
        b"\xc2\xff" + struct.pack(">I", size),
        b"\x8b",
    )


def _forms() -> Iterator[bytes]:
    """Yield every pair of areas; packet formats and armours take turns."""
    for number, (hashed, unhashed) in enumerate(itertools.product(HASHED, UNHASHED)):
        name = ("sha512", "sha256", "sha1")[number % 3]
        forged = ForgedSignature(
            key=KEY, content=CONTENT, hash_name=name, hashed=hashed, unhashed=unhashed
        )
        heads = _heads(forged.body)
        packets = heads[number % len(heads)] + forged.body
        # gpgv 2.2 finds the end of base64 by "=" only: without padding and checksum it reads the
        # END line as base64 and fails, though RFC 9580, section 6.1, lets the checksum be missing.
        yield armour(
            "SIGNATURE",
            packets,
            headers=["Comment: x", "Hash: MD5", "Version: 1"][: number % 4],
            checksum=number % 7 != 0 or len(packets) % 3 == 0,
        )


@needs_gpgv
def test_what_is_accepted_gpgv_accepts_too(tmp_path: Path) -> None:
    block = certified_block(KEY)
    gpgv = Gpgv(tmp_path, block)
    key = read_release_key(block, [KEY.fingerprint], "key")
    forms = list(_forms())
    accepted = [form for form in forms if is_accepted(CONTENT, form, key)]
    assert [form for form in accepted if not gpgv.accepts(CONTENT, form)] == []
    assert len(forms) == len(HASHED) * len(UNHASHED)
    assert 50 <= len(accepted) <= len(forms) // 2
