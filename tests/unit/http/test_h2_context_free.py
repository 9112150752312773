"""Blocks without a dynamic table, beside `hpack` with a table of size 0."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mirror.http.h2_context_free import MAX_KEPT, BlockReader, string_literal
from mirror.http.h2_errors import Code, H2ConnectionError
from mirror.http.h2_huffman import encode
from tests.unit.http.h2_peer import GET, literals

READER = BlockReader()  # kept, as a worker keeps its own
MOST = 1_000
PATH = b"/se/rd/serde"


def lines_by_another(block: bytes) -> list[tuple[bytes, bytes]] | str:
    decoder = hpack.Decoder(max_header_list_size=MOST)
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    try:
        return [(bytes(n), bytes(v)) for n, v in decoder.decode(block, raw=True)]
    except hpack.OversizedHeaderListError:
        return "too large"
    except hpack.HPACKError:
        return "refused"


def lines_of(block: bytes) -> list[tuple[bytes, bytes]] | str:
    try:
        lines = READER.read(block, MOST).lines
    except H2ConnectionError as exc:
        return "refused" if exc.code is Code.COMPRESSION_ERROR else exc.code.name
    return "too large" if lines is None else lines


def string(raw: bytes, *, coded: bool) -> bytes:
    raw = encode(raw) if coded else raw
    size = hpack.hpack.encode_integer(len(raw), 7)
    size[0] |= 0x80 if coded else 0
    return bytes(size) + raw


@st.composite
def fields(draw: st.DrawFn) -> bytes:
    """One field in any of its forms, sometimes one that no table has."""
    if draw(st.booleans()):
        index = hpack.hpack.encode_integer(draw(st.integers(0, 70)), 7)
        index[0] |= 0x80
        return bytes(index)
    bits, form = draw(st.sampled_from([(6, 0x40), (4, 0x00), (4, 0x10)]))
    name = hpack.hpack.encode_integer(draw(st.integers(0, 65)), bits)
    name[0] |= form
    block = bytes(name)
    if not name[0] & (1 << bits) - 1:
        block += string(draw(st.binary(max_size=12)), coded=draw(st.booleans()))
    return block + string(draw(st.binary(max_size=200)), coded=draw(st.booleans()))


@given(st.lists(fields(), max_size=8).map(b"".join))
def test_blocks_are_read_as_another_library_reads_them(block: bytes) -> None:
    assert lines_of(block) == lines_by_another(block)


@given(st.lists(fields(), min_size=1, max_size=5).map(b"".join), st.data())
def test_blocks_that_were_tampered_with_are_read_so_too(block: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(block) - 1))
    changed = block[:at] + bytes((data.draw(st.integers(0, 255)),)) + block[at + 1 :]
    cut = changed[: data.draw(st.integers(0, len(changed)))]
    for each in (changed, cut):
        if b"\x20" <= each[:1] < b"\x40":
            continue  # a size update: `h2_decoder` reads those
        if _has_long_integer(each):
            continue
        assert lines_of(each) == lines_by_another(each)


def _has_long_integer(block: bytes) -> bool:
    """Whether more bytes in a row say that a number goes on than this reader admits."""
    row = 0
    for byte in block:
        row = row + 1 if byte & 0x80 else 0
        if row > 4:
            return True
    return False


@given(st.binary(max_size=120))
@example(b"\xff\x80\x80\x80\x80\x00")
@example(b"\x40\x01a\x01b\xbe")
def test_no_bytes_raise_anything_else(block: bytes) -> None:
    found = lines_of(block)
    assert isinstance(found, list) or found in ("refused", "too large")


@pytest.mark.parametrize(
    ("block", "found"),
    [
        pytest.param(b"\x40\x01a\x01b", [(b"a", b"b")], id="indexing-into-nothing"),
        pytest.param(b"\x10\x01a\x01b", [(b"a", b"b")], id="never-indexed"),
        pytest.param(b"\x82", [(b":method", b"GET")], id="static"),
        pytest.param(b"\x40\x01a\x01b\xbe", "refused", id="use-of-what-was-not-kept"),
        pytest.param(b"\x80", "refused", id="index-0"),
        pytest.param(b"\x82\x20", "refused", id="size-update-after-a-field"),
        pytest.param(b"\xff\x80\x80\x80\x80\x00", "refused", id="index-of-five-bytes"),
        pytest.param(b"\x00\x01a\x7f\x80\x80\x80\x80\x00", "refused", id="length-of-five-bytes"),
        pytest.param(b"\x00\x01a\x05b", "refused", id="cut-value"),
        pytest.param(b"\x00\x01a\x81\x00", "refused", id="padding-of-zeros"),
    ],
)
def test_what_the_rfc_says_of_a_table_of_size_0(
    block: bytes, found: list[tuple[bytes, bytes]] | str
) -> None:
    assert lines_of(block) == found


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("lead", [b"\x04", b"\x44", b"\x14", b"\x00\x05:path"])
def test_place_of_the_path_is_told(lead: bytes, coded: bool) -> None:
    begins = literals(GET[:3]) + lead
    literal = string(PATH, coded=coded)
    read = READER.read(begins + literal + b"\x90", MOST)
    assert (read.path_at, read.path_end) == (len(begins), len(begins) + len(literal))
    assert read.tag_at == -1


def test_place_of_a_tag_is_told_when_there_is_one_of_them() -> None:
    tag = b"\x69" + string_literal(b'"a"', is_coded=False)
    begins = literals(GET)
    assert READER.read(begins + tag, MOST).tag_at == len(begins) + 1
    assert READER.read(begins + tag * 2, MOST).tag_at == -1


def test_what_is_kept_of_literals_is_bounded() -> None:
    reader = BlockReader()
    for number in range(MAX_KEPT + 10):
        name, value = b"%d" % number, b"x" * (number % 200)
        assert reader.read(literals([(name, value)]), MOST).lines == [(name, value)]
    assert 0 < int(repr(reader).split()[1]) <= MAX_KEPT


def test_list_beyond_the_limit_is_not_read_to_its_end() -> None:
    read = READER.read(literals([(b"a", b"x" * 900)]) * 3 + b"\x80", MOST)
    assert read.lines is None
    assert read.list_bytes > MOST
