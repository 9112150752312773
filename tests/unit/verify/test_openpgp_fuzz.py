"""`mirror.verify.openpgp` under arbitrary input: a value or VerificationError, nothing else."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.errors import VerificationError
from mirror.verify.openpgp import (
    DetachedSignature,
    SignatureCheck,
    read_release_key,
    read_signature,
)
from tests.unit.verify.openpgp_forge import (
    ForgedKey,
    ForgedSignature,
    area,
    armour,
    creation_time,
    key_block,
    mpi,
    packet,
)

PRIMARY = ForgedKey(name="primary")
SUBKEY = ForgedKey(name="subkey")
PINS = (PRIMARY.fingerprint, SUBKEY.fingerprint)
CONTENT = b"content"
BLOCK = key_block(PRIMARY, SUBKEY)
KEY = read_release_key(BLOCK, PINS, "key")
FORGED = ForgedSignature(key=PRIMARY, content=CONTENT)
GOOD = read_signature(FORGED.armoured, "x")

bodies = st.builds(
    lambda head, hashed, unhashed, value, tail: (
        bytes(head) + area(hashed) + area(unhashed) + b"\0\0" + mpi(value) + tail
    ),
    st.tuples(*(st.sampled_from([*choice, 99]) for choice in ([4], [0], [1, 3], [2, 8, 10]))),
    st.one_of(st.just(creation_time()), st.binary(max_size=80)),
    st.binary(max_size=80),
    st.integers(1, 1 << 2048),
    st.sampled_from([b"", b"", b"\0"]),
)
packet_strings = st.one_of(
    st.binary(min_size=1, max_size=600), bodies.map(lambda body: packet(2, body))
)


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """A few slices of the text replaced, removed, doubled or moved."""
    text = original
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 40)))
        piece = draw(st.one_of(st.binary(max_size=20), st.just(text[start:end] * 2)))
        text = text[:start] + piece + text[end:]
    return text


def _verify(armoured: bytes) -> DetachedSignature | None:
    """Return the signature when it is accepted."""
    with contextlib.suppress(VerificationError):
        signature = read_signature(armoured, "x")
        check = SignatureCheck(signature, KEY, "x")
        check.update(CONTENT)
        check.finish()
        return signature
    return None


@settings(deadline=None)
@given(text=st.binary(max_size=2000))
def test_arbitrary_bytes_are_refused(text: bytes) -> None:
    assert _verify(text) is None


@settings(deadline=None)
@given(packets=packet_strings)
def test_arbitrary_packets_are_refused(packets: bytes) -> None:
    assert _verify(armour("SIGNATURE", packets)) is None


@settings(max_examples=300, deadline=None)
@given(text=mutated(FORGED.armoured))
def test_a_mutated_armour_never_gives_a_proof_of_something_else(text: bytes) -> None:
    found = _verify(text)
    assert found is None or (found.hashed_part, found.value) == (GOOD.hashed_part, GOOD.value)


@settings(max_examples=300, deadline=None)
@given(packets=mutated(FORGED.packet))
def test_mutated_packets_never_give_a_proof_of_something_else(packets: bytes) -> None:
    found = _verify(armour("SIGNATURE", packets or b"\0"))
    assert found is None or (found.hashed_part, found.value) == (GOOD.hashed_part, GOOD.value)


@settings(max_examples=200, deadline=None)
@given(
    block=st.one_of(
        st.binary(max_size=1000),
        mutated(BLOCK),
        packet_strings.map(lambda packets: armour("PUBLIC KEY BLOCK", packets)),
        mutated(packet(6, PRIMARY.body) + packet(14, SUBKEY.body)).map(
            lambda packets: armour("PUBLIC KEY BLOCK", packets or b"\0")
        ),
    )
)
def test_a_key_block_gives_pinned_keys_or_none(block: bytes) -> None:
    with contextlib.suppress(VerificationError):
        assert {key.fingerprint for key in read_release_key(block, PINS, "key").keys} <= set(PINS)
