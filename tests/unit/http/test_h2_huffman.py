"""The Huffman code of field blocks, beside another implementation."""

from __future__ import annotations

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.h2_huffman import HuffmanDecoder, encode

DECODER = HuffmanDecoder()  # kept, as a worker keeps its own


def decoded_by_another(coded: bytes) -> bytes | None:
    try:
        return bytes(decode_huffman(coded))
    except HPACKDecodingError:
        return None


@given(st.binary(max_size=200))
def test_what_is_encoded_is_decoded(raw: bytes) -> None:
    assert DECODER.decode(encode(raw)) == raw


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused_as_by_another_library(coded: bytes) -> None:
    assert DECODER.decode(coded) == decoded_by_another(coded)


@pytest.mark.parametrize(
    "coded",
    [
        pytest.param(b"\xff\xff\xff\xff", id="end-of-string"),
        pytest.param(b"\xff", id="padding-of-eight-bits"),
        pytest.param(encode(b"www") + b"\xff", id="padding-of-more-than-seven-bits"),
        pytest.param(b"\x00", id="padding-of-zeros"),
        pytest.param(b"\x1c\x64\xff\xff\xff\xff\xff", id="end-of-string-in-the-middle"),
    ],
)
def test_what_the_code_does_not_admit_is_refused(coded: bytes) -> None:
    assert DECODER.decode(coded) is None


def test_example_of_the_rfc_is_read() -> None:
    """RFC 7541, appendix C.4.1."""
    assert DECODER.decode(bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff")) == b"www.example.com"


def test_what_is_kept_is_bounded_by_the_code_itself() -> None:
    decoder = HuffmanDecoder()
    for byte in range(256):
        for other in range(256):
            decoder.decode(bytes((byte, other)))
    steps = int(repr(decoder).split()[1])
    assert 256 <= steps <= 256 * 256
