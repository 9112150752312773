"""Response blocks, read back by another library."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.h2_blocks import MAX_KEPT_LINES, HeadEncoder, encode_head

NAMES = st.from_regex(rb"[A-Za-z][A-Za-z0-9-]{0,30}", fullmatch=True) | st.sampled_from(
    [name.title() for name, _ in hpack.table.HeaderTable.STATIC_TABLE if name[:1] != b":"]
)
VALUES = st.binary(max_size=300).map(
    lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").strip(b" \t")
) | st.integers(100, 40_000).map(lambda size: b"v" * size)
OF_CONNECTIONS = {b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"}


def decode(block: bytes) -> list[tuple[bytes, bytes]]:
    """Read by a decoder without a table: whatever would need one fails."""
    decoder = hpack.Decoder(max_header_list_size=10**6)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    return [(name, value) for name, value in decoder.decode(block, raw=True)]


@given(st.integers(100, 599), st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_any_head_is_read_back(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    lines = b"".join(b"%b: %b\r\n" % pair for pair in fields)
    expected = [(b":status", b"%d" % status)]
    expected += [(n.lower(), v) for n, v in fields if n.lower() not in OF_CONNECTIONS]
    assert decode(encode_head(status, lines)) == expected
    encoder = HeadEncoder()
    for _ in range(2):
        assert encoder.encode(status, lines) == encode_head(status, lines)


@pytest.mark.parametrize(
    ("status", "block"),
    [
        pytest.param(200, b"\x88", id="200"),
        pytest.param(304, b"\x8b", id="304"),
        pytest.param(431, b"\x08\x03431", id="431"),
    ],
)
def test_status_uses_the_static_table(status: int, block: bytes) -> None:
    assert encode_head(status, b"") == block


def test_known_name_takes_two_bytes() -> None:
    assert encode_head(200, b"Via: 1.1 x\r\n") == b"\x88\x0f\x2d\x051.1 x"


def test_fields_of_a_connection_are_left_out() -> None:
    lines = b"Connection: close\r\nKeep-Alive: 1\r\nTransfer-Encoding: chunked\r\nAge: 1\r\n"
    assert decode(encode_head(200, lines)) == [(b":status", b"200"), (b"age", b"1")]


def test_kept_lines_are_bounded() -> None:
    encoder = HeadEncoder()
    for number in range(MAX_KEPT_LINES + 10):
        encoder.encode(200, b"ETag: %d\r\n" % number)
    assert repr(encoder) == "<HeadEncoder 12 lines>"
    assert decode(encoder.encode(200, b"ETag: 5\r\n"))[1:] == [(b"etag", b"5")]
