"""Decoding of field blocks: the table, its reduction, and lists that are too large."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.h2_decoder import BlockDecoder
from mirror.http.h2_errors import Code, H2ConnectionError
from tests.unit.http.h2_peer import GET, literals

KEPT = b"\x40\x01a\x01b"  # literal with indexing
LAST_KEPT = b"\xbe"  # index 62
NO_TABLE = b"\x20"
FAR_TOO_LARGE = b"\x00\x01a\x7f\xa1\x7f" + b"x" * 16_416 + b"\x82" * 500


def decoder(max_list_bytes: int = 16_384, max_field_lines: int = 100) -> BlockDecoder:
    return BlockDecoder(max_list_bytes=max_list_bytes, max_field_lines=max_field_lines)


def fault(reader: BlockDecoder, block: bytes) -> Code:
    with pytest.raises(H2ConnectionError) as found:
        reader.decode(block)
    return found.value.code


def test_table_serves_a_client_that_never_acknowledges() -> None:
    reader = decoder()
    assert reader.decode(KEPT) == [(b"a", b"b")]
    assert reader.decode(LAST_KEPT) == [(b"a", b"b")]


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(literals(GET), id="no-reduction"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x21", id="reduction-to-one-byte"),
        pytest.param(NO_TABLE + b"\x3f\x01", id="reduction-and-growth"),
        pytest.param(NO_TABLE + KEPT + LAST_KEPT, id="use-of-the-table"),
        pytest.param(NO_TABLE + LAST_KEPT, id="use-of-what-was-dropped"),
        pytest.param(literals(GET) + NO_TABLE, id="reduction-at-the-end"),
    ],
)
def test_client_that_acknowledged_must_reduce_the_table(block: bytes) -> None:
    reader = decoder()
    reader.decode(KEPT)
    reader.forbid_table()
    assert fault(reader, block) == Code.COMPRESSION_ERROR


def test_reduction_is_owed_once() -> None:
    reader = decoder()
    reader.forbid_table()
    assert reader.decode(NO_TABLE + literals(GET)) == GET
    assert reader.decode(literals(GET)) == GET
    assert reader.decode(KEPT) == [(b"a", b"b")]  # indexing into nothing is no use of it


def test_reduction_before_the_acknowledgement_counts() -> None:
    reader = decoder()
    reader.decode(NO_TABLE)
    reader.forbid_table()
    assert reader.decode(literals(GET)) == GET


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="index-0"),
        pytest.param(b"\xbe", id="index-of-nothing"),
        pytest.param(b"\xff\xff\xff\xff\xff\xff\x00", id="index-of-40-bits"),
        pytest.param(b"\x00\x05ab", id="cut-name"),
        pytest.param(b"\x00\x01a\x05b", id="cut-value"),
        pytest.param(b"\x00\x81\x00\x00", id="huffman-padding-of-zeros"),
        pytest.param(b"\x00\x84\xff\xff\xff\xff\x00", id="huffman-end-of-string"),
        pytest.param(b"\x3f\xe2\x1f", id="table-above-4096"),
        pytest.param(NO_TABLE * 3, id="three-size-updates"),
        pytest.param(b"\x3f\x80\x80\x00\x20\x20", id="three-size-updates-one-of-them-long"),
        pytest.param(b"\x3f\x80", id="cut-size-update"),
        pytest.param(b"\x82" + NO_TABLE, id="size-update-after-a-field"),
    ],
)
def test_block_that_cannot_be_decoded_is_a_fault_of_the_connection(block: bytes) -> None:
    assert fault(decoder(), block) == Code.COMPRESSION_ERROR


@pytest.mark.parametrize(
    ("lines", "is_read"),
    [
        pytest.param([(b"a", b"b" * 67)], True, id="as-large-as-the-limit"),
        pytest.param([(b"a", b"b" * 68)], False, id="one-byte-more"),
        pytest.param([(b"", b"")] * 2, True, id="as-many-as-the-limit"),
        pytest.param([(b"", b"")] * 3, False, id="one-more"),
    ],
)
def test_limits_of_a_list(lines: list[tuple[bytes, bytes]], is_read: bool) -> None:
    assert decoder(100, 2).decode(literals(lines)) == (lines if is_read else None)


def test_list_a_little_too_large_leaves_the_table_in_step() -> None:
    reader = decoder(100)
    assert reader.decode(literals([(b"a", b"b" * 100)]) + KEPT) is None
    assert reader.decode(LAST_KEPT) == [(b"a", b"b")]


def test_list_far_too_large_ends_the_connection_only_when_there_is_a_table() -> None:
    assert fault(decoder(), FAR_TOO_LARGE) == Code.ENHANCE_YOUR_CALM
    reader = decoder()
    assert reader.decode(NO_TABLE + FAR_TOO_LARGE) is None
    assert reader.decode(literals(GET)) == GET


def test_hpack_bomb_is_not_unpacked() -> None:
    """One entry of the table, referred to thousands of times."""
    reader = decoder()
    entry = (b"a", b"x" * 4000)
    assert reader.decode(b"\x40" + literals([entry])[1:]) == [entry]
    assert reader.decode(LAST_KEPT * 4) == [entry] * 4
    assert fault(reader, LAST_KEPT * 16_000) == Code.ENHANCE_YOUR_CALM


@given(st.lists(st.binary(max_size=60), max_size=4), st.booleans())
def test_no_bytes_raise_anything_else(blocks: list[bytes], is_reduced: bool) -> None:
    reader = decoder(200, 5)
    if is_reduced:
        reader.forbid_table()
    for block in blocks:
        try:
            reader.decode(block)
        except H2ConnectionError:
            break


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=60)), max_size=6))
def test_what_another_library_encodes_is_read(lines: list[tuple[bytes, bytes]]) -> None:
    encoder, reader = hpack.Encoder(), decoder()
    for _ in range(3):
        assert reader.decode(encoder.encode(lines)) == lines
