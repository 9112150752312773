"""`mirror.verify.digests`: one digest or a refusal, whatever stands in a `.sha256` file."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import VerificationError
from mirror.verify.digests import parse_digest, parse_sha256_file, shown

DIGEST = hashlib.sha256(b"content").digest()
HEX = DIGEST.hex().encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HEX, id="bare"),
        pytest.param(HEX + b"\n", id="line"),
        pytest.param(HEX + b"\r\n", id="crlf"),
        pytest.param(HEX + b"  channel-rust-stable.toml\n", id="text-mode"),
        pytest.param(HEX + b" *./rustup-init\n\n", id="binary-mode"),
        pytest.param(HEX + b"\tname with blanks", id="tab"),
        pytest.param(HEX.upper() + b"  X\n", id="upper-case"),
        pytest.param(b"\xef\xbb\xbf" + HEX + b"\r\n", id="byte-order-mark"),
    ],
)
def test_one_stated_digest_is_read(body: bytes) -> None:
    assert parse_sha256_file(body, "x") == DIGEST


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\n" + HEX, id="blank-line-first"),
        pytest.param(HEX[:63], id="short"),
        pytest.param(HEX + b"0", id="long"),
        pytest.param(HEX[:-1] + b"g", id="no-hex"),
        pytest.param(HEX + b"  a\n" + HEX + b"  b\n", id="two-digests"),
        pytest.param(b"<!DOCTYPE html><html>404</html>", id="error-page"),
        pytest.param(b" " + HEX, id="leading-blank"),
        pytest.param("\uff10".encode() * 64, id="wide-digits"),
    ],
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        parse_sha256_file(body, "the file")
    assert caught.value.source == "the file"
    assert caught.value.expected == "one sha256 digest"


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_a_digest(body: bytes) -> None:
    with contextlib.suppress(VerificationError):
        assert len(parse_sha256_file(body, "x")) == 32


@pytest.mark.parametrize("text", ["", "0" * 63, "A" * 64, "0" * 64 + "\n", "\uff10" * 64])
def test_a_digest_is_64_lower_case_hex_digits(text: str) -> None:
    with pytest.raises(VerificationError):
        parse_digest(text, "x")
    assert parse_digest("0f" * 32, "x") == b"\x0f" * 32


def test_hostile_text_is_shortened_and_escaped() -> None:
    assert shown("\x1b[31m") == "'\\x1b[31m'"
    assert shown(b"a" * 100) == "b'" + "a" * 40 + "'…"
