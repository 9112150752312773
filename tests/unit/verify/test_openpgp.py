"""`mirror.verify.openpgp`: attacks with good keys and bad forms; streaming changes no verdict.

The forged signatures are mathematically good unless the attack is a bad one: only the form differs.
"""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.errors import VerificationError
from mirror.simulator.openpgp_signer import Signer
from mirror.verify.openpgp import (
    Grade,
    ReleaseKey,
    SignatureCheck,
    SignatureProof,
    read_release_key,
    read_signature,
)
from tests.unit.verify.openpgp_forge import (
    CREATED,
    DSA,
    EDDSA,
    EXPIRES,
    ISSUER,
    ISSUER_FINGERPRINT,
    KEY_CREATED_AT,
    NOTATION,
    RSA_SIGN_ONLY,
    SIGNED_AT,
    ForgedKey,
    ForgedSignature,
    armour,
    certified_block,
    creation_time,
    key_block,
    mpi,
    notation,
    packet,
    private_key,
    subpacket,
)
from tests.unit.verify.openpgp_vectors import Gpgv, needs_gpgv

PRIMARY = ForgedKey(name="primary")
SUBKEY = ForgedKey(name="subkey")
OTHER = ForgedKey(name="other")
CONTENT = b"manifest-version = '2'\n" * 50
KEY = read_release_key(key_block(PRIMARY, SUBKEY), [PRIMARY.fingerprint], "release key")
GOOD = ForgedSignature(key=PRIMARY, content=CONTENT)
UNKNOWN = 60  # a subpacket type that no RFC gives


def _verify(armoured: bytes, content: bytes = CONTENT, key: ReleaseKey = KEY) -> SignatureProof:
    check = SignatureCheck(read_signature(armoured, "x.asc"), key, "x")
    check.update(content)
    return check.finish()


def _forged(**changes: object) -> ForgedSignature:
    fields: dict[str, object] = {"key": PRIMARY, "content": CONTENT, **changes}
    return ForgedSignature(**fields)  # type: ignore[arg-type]  # a table names the fields


PRIMARY_BY_FINGERPRINT = subpacket(ISSUER_FINGERPRINT, b"\4" + bytes.fromhex(PRIMARY.fingerprint))
ALLOWED = [
    pytest.param(GOOD, id="like-the-real-ones"),
    pytest.param(_forged(hash_name="sha256"), id="sha256"),
    pytest.param(
        _forged(hashed=creation_time() + PRIMARY_BY_FINGERPRINT, unhashed=b""),
        id="issuer-by-fingerprint",
    ),
    pytest.param(
        _forged(unhashed=PRIMARY_BY_FINGERPRINT + subpacket(ISSUER, PRIMARY.key_id)),
        id="issuer-by-both",
    ),
    pytest.param(
        _forged(hashed=creation_time() + subpacket(ISSUER, PRIMARY.key_id), unhashed=b""),
        id="issuer-in-the-hashed-area",
    ),
    pytest.param(
        _forged(hashed=subpacket(CREATED, SIGNED_AT.to_bytes(4, "big"), is_critical=True)),
        id="critical-but-known",
    ),
    pytest.param(_forged(hashed=creation_time() + notation(b"a@b", b"c")), id="notation"),
    pytest.param(
        _forged(hashed=creation_time() + subpacket(UNKNOWN, b"x")), id="unknown-but-not-critical"
    ),
    pytest.param(
        _forged(hashed=creation_time() + b"\xc0\x10" + bytes([UNKNOWN]) + bytes(207)),
        id="subpacket-with-a-length-of-two-octets",
    ),
    pytest.param(
        _forged(hashed=creation_time() + b"\xff\0\0\0\x02" + bytes([UNKNOWN]) + b"x"),
        id="subpacket-with-a-length-of-five-octets",
    ),
    pytest.param(
        _forged(
            unhashed=subpacket(ISSUER, PRIMARY.key_id)
            + creation_time(1)
            + subpacket(EXPIRES, b"\0\0\0\1")
        ),
        id="times-that-nobody-signed-are-ignored",
    ),
]


@pytest.mark.parametrize("signature", ALLOWED)
def test_a_good_signature_of_an_allowed_form_is_a_strong_proof(signature: ForgedSignature) -> None:
    assert _verify(signature.armoured) == SignatureProof(
        fingerprint=PRIMARY.fingerprint,
        hash_name=signature.hash_name,
        created_at=SIGNED_AT,
        grade=Grade.STRONG,
    )


@needs_gpgv
@pytest.mark.parametrize("signature", ALLOWED)
def test_gpgv_allows_each_allowed_form_too(signature: ForgedSignature, tmp_path: Path) -> None:
    assert Gpgv(tmp_path, certified_block(PRIMARY)).accepts(CONTENT, signature.armoured)


def test_a_signature_by_the_simulated_release_signer_is_a_strong_proof() -> None:
    signer = Signer()
    key = read_release_key(signer.public_key(), [signer.fingerprint.lower()], "key")
    armoured = signer.detached_signature([CONTENT], SIGNED_AT)
    assert _verify(armoured, key=key).fingerprint == signer.fingerprint


def test_a_sha1_signature_is_never_a_strong_proof() -> None:
    assert _verify(_forged(hash_name="sha1").armoured).grade is Grade.WEAK


def test_a_signature_by_another_key_is_refused() -> None:
    with pytest.raises(VerificationError, match=f"got one by {OTHER.fingerprint[-16:]}"):
        _verify(_forged(key=OTHER).armoured)


@pytest.mark.parametrize("kind", [ISSUER, ISSUER_FINGERPRINT])
def test_another_key_that_claims_the_pinned_id_is_refused(kind: int) -> None:
    claims = {ISSUER: subpacket(ISSUER, PRIMARY.key_id), ISSUER_FINGERPRINT: PRIMARY_BY_FINGERPRINT}
    forged = _forged(key=OTHER, hashed=creation_time() + claims[kind], unhashed=b"")
    with pytest.raises(VerificationError, match=r"bad sha512 signature|above it"):  # by chance
        _verify(forged.armoured)


def test_the_pinned_id_in_a_foreign_fingerprint_is_refused() -> None:
    """The last 8 bytes are the pinned key's, the first 12 are not."""
    foreign = subpacket(ISSUER_FINGERPRINT, b"\4" + bytes(12) + PRIMARY.key_id)
    with pytest.raises(VerificationError, match="expected a signature by"):
        _verify(_forged(hashed=creation_time() + foreign).armoured)


def test_the_right_key_over_another_file_is_refused() -> None:
    with pytest.raises(VerificationError, match="other content"):
        _verify(_forged(content=b"another file").armoured)


def test_a_signature_by_an_unpinned_subkey_is_refused() -> None:
    with pytest.raises(VerificationError, match="expected a signature by"):
        _verify(_forged(key=SUBKEY).armoured)


def test_a_signature_by_a_pinned_subkey_is_accepted() -> None:
    pins = [PRIMARY.fingerprint, SUBKEY.fingerprint]
    key = read_release_key(key_block(PRIMARY, OTHER, SUBKEY), pins, "key")
    assert _verify(_forged(key=SUBKEY).armoured, key=key).fingerprint == SUBKEY.fingerprint
    assert [item.fingerprint for item in key.keys] == pins


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        pytest.param({"kind": 0x01}, "signature type 0", id="text-signature"),
        pytest.param({"kind": 0x10}, "signature type 0", id="certification-as-signature"),
        pytest.param({"kind": 0x40}, "signature type 0", id="timestamp-signature"),
        pytest.param({"version": 3}, "signature version 4", id="version-3"),
        pytest.param({"version": 5}, "signature version 4", id="version-5"),
        pytest.param({"version": 6}, "signature version 4", id="version-6"),
        pytest.param({"algorithm": DSA}, "public key algorithm", id="dsa"),
        pytest.param({"algorithm": EDDSA}, "public key algorithm", id="eddsa"),
        pytest.param({"algorithm": 2}, "public key algorithm", id="rsa-for-encryption"),
        pytest.param({"algorithm": RSA_SIGN_ONLY}, "algorithm 1", id="not-the-keys-algorithm"),
        pytest.param({"hash_name": "md5"}, "hash algorithm", id="md5"),
        pytest.param({"hashed": b""}, "creation time", id="without-creation-time"),
        pytest.param(
            {"hashed": b"", "unhashed": creation_time() + subpacket(ISSUER, PRIMARY.key_id)},
            "creation time",
            id="creation-time-that-nobody-signed",
        ),
        pytest.param(
            {"hashed": creation_time() + creation_time(SIGNED_AT + 1)},
            "creation time",
            id="two-creation-times",
        ),
        pytest.param(
            {"hashed": subpacket(CREATED, b"\1\2\3")}, "creation time", id="short-creation-time"
        ),
        pytest.param(
            {"hashed": creation_time(KEY_CREATED_AT - 1)}, "after its key", id="older-than-its-key"
        ),
        pytest.param(
            {"hashed": creation_time() + subpacket(EXPIRES, b"\0\0\0\1")},
            "does not expire",
            id="expiring",
        ),
        pytest.param(
            {"hashed": creation_time() + subpacket(NOTATION, b"", is_critical=True)},
            "understood",
            id="unknown-critical-subpacket",
        ),
        pytest.param(
            {"unhashed": subpacket(ISSUER, PRIMARY.key_id) + subpacket(99, b"", is_critical=True)},
            "understood",
            id="unknown-critical-subpacket-that-nobody-signed",
        ),
        pytest.param({"unhashed": b""}, "one issuer", id="without-issuer"),
        pytest.param(
            {"unhashed": PRIMARY_BY_FINGERPRINT}, "one issuer", id="fingerprint-that-nobody-signed"
        ),
        pytest.param({"unhashed": subpacket(ISSUER, b"1234567")}, "8 bytes", id="short-key-id"),
        pytest.param(
            {"unhashed": subpacket(ISSUER, PRIMARY.key_id) + subpacket(ISSUER, OTHER.key_id)},
            "one issuer",
            id="two-issuers",
        ),
        pytest.param(
            {
                "unhashed": subpacket(ISSUER, PRIMARY.key_id)
                + subpacket(ISSUER_FINGERPRINT, b"\4" + bytes.fromhex(OTHER.fingerprint))
            },
            "one issuer",
            id="key-id-and-fingerprint-disagree",
        ),
        pytest.param(
            {
                "hashed": creation_time() + PRIMARY_BY_FINGERPRINT,
                "unhashed": subpacket(ISSUER_FINGERPRINT, b"\4" + bytes(12) + PRIMARY.key_id),
            },
            "one issuer",
            id="two-fingerprints-under-one-key-id",
        ),
        pytest.param(
            {"unhashed": subpacket(ISSUER_FINGERPRINT, b"\6" + bytes(32))},
            "version 4 key",
            id="fingerprint-of-version-6",
        ),
        pytest.param({"unhashed": b"\0"}, "subpacket with a type", id="subpacket-without-type"),
        pytest.param({"unhashed": b"\x0a\x10abc"}, "more bytes", id="subpacket-past-its-area"),
        pytest.param({"unhashed": b"\xff\0\0"}, "more bytes", id="subpacket-length-cut"),
        pytest.param({"hashed": bytes(10_001)}, "at most 10000 bytes", id="endless-subpackets"),
        pytest.param({"value": mpi(1)}, "bad sha512", id="value-one"),
        pytest.param({"value": b"\0\0"}, "a number of 0 bits", id="value-zero"),
        pytest.param({"value": b"\0\x09\0\xff"}, "a number of 9 bits", id="value-not-normal"),
        pytest.param({"value": b"\x08\0\xff"}, "more bytes", id="value-cut"),
        pytest.param({"tail": b"\0"}, "the end of the packet", id="garbage-in-the-packet"),
    ],
)
def test_a_forged_form_is_refused(changes: dict[str, object], refusal: str) -> None:
    with pytest.raises(VerificationError, match=refusal):
        _verify(_forged(**changes).armoured)


@pytest.mark.parametrize("mask", [b"\x01\0", b"\0\x80", b"\xff\xff"])
def test_another_start_of_the_digest_is_refused(mask: bytes) -> None:
    start = read_signature(GOOD.armoured, "x").digest_start
    other = bytes(one ^ two for one, two in zip(start, mask, strict=True))
    with pytest.raises(VerificationError, match="bad sha512 signature"):
        _verify(_forged(digest_start=other).armoured)


def test_a_value_above_the_modulus_is_refused() -> None:
    """RSA computes modulo n: the value plus n would be a second good signature."""
    modulus = private_key(PRIMARY.name, PRIMARY.bits).public_key().public_numbers().n
    value = read_signature(GOOD.armoured, "x").value
    with pytest.raises(VerificationError, match="below the modulus"):
        _verify(_forged(value=mpi(value + modulus)).armoured)


def test_a_signature_by_a_sign_only_key_is_accepted() -> None:
    signer = ForgedKey(name="primary", algorithm=RSA_SIGN_ONLY)
    key = read_release_key(key_block(signer), [signer.fingerprint], "key")
    proof = _verify(_forged(key=signer, algorithm=RSA_SIGN_ONLY).armoured, key=key)
    assert proof.fingerprint == signer.fingerprint


@pytest.mark.parametrize(
    ("packets", "refusal"),
    [
        pytest.param(GOOD.packet * 2, "one signature packet", id="two-signatures"),
        pytest.param(
            GOOD.packet + _forged(key=OTHER).packet,
            "one signature packet",
            id="a-foreign-signature-behind",
        ),
        pytest.param(
            _forged(key=OTHER).packet + GOOD.packet,
            "one signature packet",
            id="a-foreign-signature-before",
        ),
        pytest.param(GOOD.packet + b"\0", "expected a packet", id="trailing-garbage"),
        pytest.param(
            packet(11, b"b\0\0\0\0\0") + GOOD.packet, "one signature", id="literal-before"
        ),
        pytest.param(packet(8, GOOD.packet), "one signature packet", id="compressed"),
        pytest.param(packet(4, bytes(13)) + GOOD.packet, "one signature", id="one-pass-signature"),
        pytest.param(packet(10, b"PGP") + GOOD.packet, "one signature", id="marker-packet"),
        pytest.param(b"\x8b" + GOOD.body, "an indeterminate one", id="indeterminate-length"),
        pytest.param(
            b"\xc2\xe8" + GOOD.body[:256] + bytes([len(GOOD.body) - 256]) + GOOD.body[256:],
            "a partial one",
            id="partial-lengths",
        ),
        pytest.param(GOOD.packet[:-1], "more bytes", id="truncated"),
        pytest.param(b"\x89\xff\xff" + GOOD.body, "more bytes", id="length-past-the-end"),
        pytest.param(b"\xc2", "1 more bytes", id="no-length"),
        pytest.param(packet(2, b""), "1 more bytes", id="empty-signature"),
    ],
)
def test_forged_packets_are_refused(packets: bytes, refusal: str) -> None:
    with pytest.raises(VerificationError, match=refusal):
        _verify(armour("SIGNATURE", packets))


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"\x89" + len(GOOD.body).to_bytes(2, "big"), id="old-two-octets"),
        pytest.param(b"\x8a" + len(GOOD.body).to_bytes(4, "big"), id="old-four-octets"),
        pytest.param(b"\xc2" + (len(GOOD.body) - 192 + 0xC000).to_bytes(2, "big"), id="two-octets"),
        pytest.param(b"\xc2\xff" + len(GOOD.body).to_bytes(4, "big"), id="five-octets"),
    ],
)
def test_every_definite_length_is_read(head: bytes) -> None:
    assert _verify(armour("SIGNATURE", head + GOOD.body)).created_at == SIGNED_AT


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=20), as_view=st.booleans())
def test_chunking_does_not_change_the_verdict(cuts: list[int], as_view: bool) -> None:
    edges = [0, *sorted(cuts), len(CONTENT)]
    pieces = [CONTENT[start:end] for start, end in itertools.pairwise(edges)]
    check = SignatureCheck(read_signature(GOOD.armoured, "x.asc"), KEY, "x")
    for piece in pieces:
        check.update(memoryview(piece) if as_view else piece)
    assert check.finish().grade is Grade.STRONG


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(CONTENT[:-1], id="truncated"),
        pytest.param(CONTENT + b"\n", id="appended"),
        pytest.param(CONTENT.replace(b"\n", b"\r\n"), id="other-line-ends"),
        pytest.param(b"", id="empty"),
    ],
)
def test_content_that_was_not_signed_is_refused(content: bytes) -> None:
    with pytest.raises(VerificationError, match="other content"):
        _verify(GOOD.armoured, content)


def test_finish_does_not_end_the_check() -> None:
    """A caller that asks too early gets a refusal, and the proof when all has come."""
    check = SignatureCheck(read_signature(GOOD.armoured, "x.asc"), KEY, "x")
    check.update(CONTENT[:10])
    with pytest.raises(VerificationError):
        check.finish()
    check.update(CONTENT[10:])
    assert check.finish() == check.finish()


def test_memory_does_not_grow_with_the_content() -> None:
    check = SignatureCheck(read_signature(GOOD.armoured, "x.asc"), KEY, "x")
    piece = bytes(1 << 18)
    tracemalloc.start()
    try:
        for _ in range(256):
            check.update(piece)
        with pytest.raises(VerificationError):
            check.finish()
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 18


def test_values_show_themselves_in_one_short_line() -> None:
    signature = read_signature(GOOD.armoured, "x.asc")
    key_id = PRIMARY.fingerprint[-16:]
    assert repr(signature) == f"<DetachedSignature {key_id} sha512 strong>"
    assert repr(KEY) == f"<ReleaseKey {key_id}>"
    assert repr(KEY.keys[0]) == f"<SigningKey {key_id} rsa2048>"
    assert repr(SignatureCheck(signature, KEY, "x")) == f"<SignatureCheck x {signature!r}>"
