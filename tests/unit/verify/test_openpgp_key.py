"""`mirror.verify.openpgp_key`: pins decide which keys there are; a key block cannot add one."""

from __future__ import annotations

import pytest

from mirror.errors import VerificationError
from mirror.verify.openpgp_key import fingerprint_of, read_release_key
from tests.unit.verify.openpgp_forge import (
    DSA,
    KEY_CREATED_AT,
    TAG_PUBLIC_KEY,
    TAG_SECRET_KEY,
    TAG_SUBKEY,
    TAG_USER_ID,
    ForgedKey,
    armour,
    key_block,
    mpi,
    packet,
)

PRIMARY = ForgedKey(name="primary")
SUBKEY = ForgedKey(name="subkey")
OTHER = ForgedKey(name="other")
PINS = (PRIMARY.fingerprint, SUBKEY.fingerprint)


def _block(*packets: bytes) -> bytes:
    return armour("PUBLIC KEY BLOCK", b"".join(packets))


def _raw_key(modulus: int, exponent: int, *, algorithm: int = 1, tail: bytes = b"") -> bytes:
    head = b"\x04" + KEY_CREATED_AT.to_bytes(4, "big") + bytes([algorithm])
    return head + mpi(modulus) + mpi(exponent) + tail


def test_pins_are_compared_without_case() -> None:
    key = read_release_key(key_block(PRIMARY), [PRIMARY.fingerprint.lower()], "key")
    assert key.fingerprint == PRIMARY.fingerprint


def test_what_a_key_says_of_itself_is_kept() -> None:
    found = read_release_key(key_block(PRIMARY, SUBKEY), PINS, "key").keys[1]
    assert (found.fingerprint, found.created_at) == (SUBKEY.fingerprint, KEY_CREATED_AT)
    assert bytes.fromhex(found.key_id) == SUBKEY.key_id


def test_the_block_of_another_key_is_refused() -> None:
    with pytest.raises(VerificationError, match=f"got the key {OTHER.fingerprint}"):
        read_release_key(key_block(OTHER), PINS, "key")


def test_a_pinned_subkey_below_another_primary_key_is_refused() -> None:
    with pytest.raises(VerificationError, match="expected a key pinned by"):
        read_release_key(key_block(OTHER, SUBKEY), [SUBKEY.fingerprint], "key")


def test_no_pin_means_no_key() -> None:
    with pytest.raises(VerificationError, match="none is configured"):
        read_release_key(key_block(PRIMARY), [], "key")


def test_an_empty_pin_fits_no_key_of_another_version() -> None:
    """Such keys have no fingerprint here; no pin may equal that."""
    with pytest.raises(VerificationError, match="of another version"):
        read_release_key(_block(packet(TAG_PUBLIC_KEY, b"\x06" + bytes(600))), [""], "key")


def test_a_subkey_of_another_version_or_algorithm_is_ignored_unless_pinned() -> None:
    strange = [
        packet(TAG_SUBKEY, b"\x06" + bytes(50)),
        packet(TAG_SUBKEY, _raw_key(5, 3, algorithm=DSA)),
        packet(TAG_SUBKEY, b""),
    ]
    block = _block(packet(TAG_PUBLIC_KEY, PRIMARY.body), *strange, packet(TAG_SUBKEY, SUBKEY.body))
    assert len(read_release_key(block, PINS, "key").keys) == 2


def test_a_subkey_that_stands_twice_is_one_key() -> None:
    assert len(read_release_key(key_block(PRIMARY, SUBKEY, SUBKEY), PINS, "key").keys) == 2


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(_block(packet(TAG_USER_ID, b"x")), id="user-id-first"),
        pytest.param(_block(packet(TAG_SECRET_KEY, PRIMARY.body)), id="secret-key"),
        pytest.param(_block(packet(TAG_SUBKEY, PRIMARY.body)), id="subkey-first"),
        pytest.param(_block(*[packet(TAG_PUBLIC_KEY, PRIMARY.body)] * 2), id="two-keys"),
        pytest.param(
            _block(packet(TAG_PUBLIC_KEY, PRIMARY.body), packet(TAG_PUBLIC_KEY, OTHER.body)),
            id="another-key-behind",
        ),
        pytest.param(
            _block(packet(TAG_PUBLIC_KEY, PRIMARY.body), packet(11, b"b")), id="unknown-packet"
        ),
        pytest.param(_block(packet(TAG_PUBLIC_KEY, PRIMARY.body)[:-1]), id="truncated"),
        pytest.param(_block(packet(TAG_PUBLIC_KEY, PRIMARY.body), b"\0"), id="garbage-behind"),
        pytest.param(armour("SIGNATURE", packet(TAG_PUBLIC_KEY, PRIMARY.body)), id="wrong-title"),
        pytest.param(key_block(PRIMARY).replace(b"PUBLIC", b"PRIVATE"), id="private-key-block"),
    ],
)
def test_a_malformed_block_is_refused_though_its_key_is_pinned(block: bytes) -> None:
    with pytest.raises(VerificationError):
        read_release_key(block, PINS, "key")


def test_a_key_block_above_its_limit_is_refused() -> None:
    with pytest.raises(VerificationError, match="at most 1048576 bytes"):
        read_release_key(key_block(PRIMARY) + b"\n" * (1 << 20), PINS, "key")


_MODULUS = (1 << 2047) + 1


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        pytest.param(_raw_key((1 << 1023) + 1, 65537), "2048 to 16384 bits", id="1024-bits"),
        pytest.param(_raw_key((1 << 16384) + 1, 65537), "2048 to 16384 bits", id="16385-bits"),
        pytest.param(_raw_key(_MODULUS, 65537, algorithm=DSA), "an RSA key", id="dsa"),
        pytest.param(_raw_key(_MODULUS, 65537, algorithm=2), "an RSA key", id="encrypt-only"),
        pytest.param(_raw_key(_MODULUS, 65537, tail=b"\0"), "end of the packet", id="tail"),
        pytest.param(_raw_key(_MODULUS, 1), "an RSA key", id="exponent-one"),
        pytest.param(_raw_key(_MODULUS, 4), "an RSA key", id="even-exponent"),
        pytest.param(_raw_key(_MODULUS, 65537)[:-1], "more bytes", id="cut"),
    ],
)
def test_a_pinned_key_that_is_unfit_is_refused(body: bytes, refusal: str) -> None:
    block = _block(packet(TAG_PUBLIC_KEY, body))
    with pytest.raises(VerificationError, match=refusal):
        read_release_key(block, [fingerprint_of(body) or "none"], "key")


def test_a_key_packet_too_long_for_a_fingerprint_has_none() -> None:
    assert fingerprint_of(b"\x04" + bytes(0xFFFF)) is None
