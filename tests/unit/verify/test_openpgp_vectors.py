"""`mirror.verify.openpgp` beside gpgv: the same verdict on real signatures, never a laxer one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirror.errors import VerificationError
from mirror.verify.openpgp import Grade, read_release_key, read_signature
from mirror.verify.openpgp_armour import dearmour
from mirror.verify.openpgp_signature import SIGNATURE_LIMIT_BYTES
from tests.unit.verify.openpgp_forge import armour
from tests.unit.verify.openpgp_vectors import (
    PRIMARY,
    SUBKEY,
    Gpgv,
    Vector,
    good_vectors,
    is_accepted,
    key_file,
    needs_gpgv,
    needs_vectors,
    release_key,
    vectors,
    verify,
)

pytestmark = needs_vectors
SEED = 20_261_122
FLIPS_PER_REGION = 30
FEWEST_FLIPS = 1_000
MOST_ORACLE_CALLS = 400


@pytest.fixture
def gpgv(tmp_path: Path) -> Gpgv:
    return Gpgv(tmp_path, key_file())


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the parts of a signature packet lie, half-open, as offsets into the packets."""

    hashed: range
    value: range

    @classmethod
    def of(cls, packets: bytes) -> Layout:
        start = 3  # each vector has one packet with a two-octet length, in either format
        assert packets[0] in (0x89, 0xC2)
        hashed_end = start + 6 + int.from_bytes(packets[start + 4 : start + 6], "big")
        unhashed = int.from_bytes(packets[hashed_end : hashed_end + 2], "big")
        return cls(
            hashed=range(start, hashed_end),
            value=range(hashed_end + 2 + unhashed + 2, len(packets)),
        )


def _packets(vector: Vector) -> bytes:
    return dearmour(vector.armoured, "SIGNATURE", vector.name, limit_bytes=SIGNATURE_LIMIT_BYTES)


def _flipped(content: bytes, at: int, mask: int) -> bytes:
    return content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


def test_the_vectors_are_the_expected_mixture() -> None:
    found = [(vector.is_good, vector.hash_name) for vector in vectors()]
    assert len(found) == 20
    assert found.count((True, "sha1")) == 5
    assert found.count((False, "sha512")) == 4


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector.name)
def test_a_real_signature_gets_the_recorded_verdict_of_gpgv(vector: Vector) -> None:
    assert is_accepted(vector.content, vector.armoured, release_key()) is vector.is_good


@needs_gpgv
@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector.name)
def test_the_installed_gpgv_says_what_is_recorded(vector: Vector, gpgv: Gpgv) -> None:
    assert gpgv.accepts(vector.content, vector.armoured) is vector.is_good


@pytest.mark.parametrize("vector", good_vectors(), ids=lambda vector: vector.name)
def test_a_proof_says_which_key_and_hash_it_rests_on(vector: Vector) -> None:
    proof = verify(vector.content, vector.armoured, release_key())
    assert proof.fingerprint[-16:] == vector.key_id
    assert proof.fingerprint in (PRIMARY, SUBKEY)
    assert proof.hash_name == vector.hash_name


@pytest.mark.parametrize("vector", good_vectors(), ids=lambda vector: vector.name)
def test_only_sha1_is_graded_weak(vector: Vector) -> None:
    proof = verify(vector.content, vector.armoured, release_key())
    assert proof.grade is (Grade.WEAK if vector.hash_name == "sha1" else Grade.STRONG)


def test_the_real_key_is_read_with_its_signing_subkey_only() -> None:
    """Its encryption subkey is not pinned, so it cannot verify."""
    assert repr(release_key()) == "<ReleaseKey 85AB96E6FA1BE5FE 5CB4A9347B3B09DC>"


def test_an_unpinned_subkey_of_the_real_key_verifies_nothing() -> None:
    primary_only = read_release_key(key_file(), [PRIMARY], "release key")
    by_subkey = next(vector for vector in good_vectors() if vector.key_id == SUBKEY[-16:])
    with pytest.raises(VerificationError, match="expected a signature by 85AB96E6FA1BE5FE"):
        verify(by_subkey.content, by_subkey.armoured, primary_only)


def test_the_real_key_is_refused_when_only_its_subkey_is_pinned() -> None:
    with pytest.raises(VerificationError, match=f"got the key {PRIMARY}"):
        read_release_key(key_file(), [SUBKEY], "release key")


def test_the_signature_of_one_real_file_does_not_fit_another() -> None:
    good = good_vectors()
    pairs = [(one, other) for one in good for other in good if one is not other]
    assert len(pairs) == 240
    assert not any(is_accepted(one.content, other.armoured, release_key()) for one, other in pairs)


def _signed_part_flips(vector: Vector, chance: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """Yield (content, armour) with one bit or byte changed in what the signature covers."""
    packets = _packets(vector)
    layout = Layout.of(packets)
    for number in range(FLIPS_PER_REGION):
        mask = 1 << chance.randrange(8) if number % 2 else chance.randrange(1, 256)
        content = _flipped(vector.content, chance.randrange(len(vector.content)), mask)
        yield content, vector.armoured
        for region in (layout.hashed, layout.value):
            flipped = _flipped(packets, chance.choice(region), mask)
            yield vector.content, armour("SIGNATURE", flipped)


def test_a_flip_in_payload_hashed_part_or_value_is_refused() -> None:
    chance = random.Random(SEED)
    count = 0
    for vector in good_vectors():
        for content, armoured in _signed_part_flips(vector, chance):
            count += 1
            assert not is_accepted(content, armoured, release_key()), (vector.name, count)
    assert count >= FEWEST_FLIPS


def _other_flips(vector: Vector) -> Iterator[bytes]:
    """Yield the armour with each bit flipped that the signature does not cover."""
    packets = _packets(vector)
    layout = Layout.of(packets)
    covered = {*layout.hashed, *layout.value}
    for at in (at for at in range(len(packets)) if at not in covered):
        for bit in range(8):
            yield armour("SIGNATURE", _flipped(packets, at, 1 << bit))
    for at in range(len(vector.armoured)):
        # The base64 says what the packets say: one bit of each character is enough there.
        is_base64 = at in range(vector.armoured.index(b"\n\n") + 2, vector.armoured.rindex(b"\n="))
        for bit in (at % 8,) if is_base64 else range(8):
            yield _flipped(vector.armoured, at, 1 << bit)


@needs_gpgv
@pytest.mark.full
def test_a_flip_elsewhere_is_never_judged_laxer_than_by_gpgv(gpgv: Gpgv) -> None:
    made = 0
    accepted = []
    for vector in good_vectors():
        for armoured in _other_flips(vector):
            made += 1
            if is_accepted(vector.content, armoured, release_key()):
                accepted.append((vector, armoured))
    assert made >= 20_000
    asked = random.Random(SEED).sample(accepted, min(len(accepted), MOST_ORACLE_CALLS))
    laxer = [
        (vector.name, read_signature(armoured, "flipped"))
        for vector, armoured in asked
        if not gpgv.accepts(vector.content, armoured)
    ]
    assert laxer == []
    assert gpgv.calls >= 100
