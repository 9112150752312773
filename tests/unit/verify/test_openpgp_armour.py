"""`mirror.verify.openpgp_armour`: one block, written in one way, or a refusal."""

from __future__ import annotations

import pytest

from mirror.errors import VerificationError
from mirror.verify.openpgp_armour import crc24, dearmour
from tests.unit.verify.openpgp_forge import armour

PACKETS = bytes(range(256))
TEXT = armour("SIGNATURE", PACKETS)
LINES = TEXT.split(b"\n")
BEGIN, END = LINES[0], LINES[-2]


def _dearmour(text: bytes) -> bytes:
    return dearmour(text, "SIGNATURE", "x.asc", limit_bytes=4096)


def test_the_checksum_is_that_of_the_rfc() -> None:
    """0x21CF02 is the catalogued check value of CRC-24/OPENPGP for these nine digits."""
    assert crc24(b"123456789") == 0x21CF02


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT, id="plain"),
        pytest.param(TEXT.rstrip(b"\n"), id="without-last-line-end"),
        pytest.param(TEXT + b" \t\r\n\n", id="white-space-behind"),
        pytest.param(TEXT.replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param(armour("SIGNATURE", PACKETS, checksum=False), id="without-checksum"),
        pytest.param(
            armour("SIGNATURE", PACKETS, headers=["Version: GnuPG v1", "Comment: "]), id="headers"
        ),
    ],
)
def test_one_block_is_read(text: bytes) -> None:
    assert _dearmour(text) == PACKETS


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        pytest.param(b"", "BEGIN", id="empty"),
        pytest.param(b"<!DOCTYPE html><html></html>", "BEGIN", id="html-page"),
        pytest.param(PACKETS, "BEGIN", id="binary"),
        pytest.param(b"\n" + TEXT, "BEGIN", id="text-before"),
        pytest.param(b"\xef\xbb\xbf" + TEXT, "BEGIN", id="byte-order-mark"),
        pytest.param(TEXT.replace(b"SIGNATURE", b"MESSAGE"), "BEGIN", id="another-title"),
        pytest.param(b"-----BEGIN PGP SIGNED MESSAGE-----\n\nx\n" + TEXT, "BEGIN", id="cleartext"),
        pytest.param(BEGIN + b" \n" + TEXT, "BEGIN", id="blank-behind-begin"),
        pytest.param(TEXT.replace(END, b""), "END", id="without-end"),
        pytest.param(TEXT.replace(END, END.lower()), "END", id="end-in-lower-case"),
        pytest.param(TEXT * 2, "one armoured block", id="two-blocks"),
        pytest.param(TEXT + b"x", "one armoured block", id="text-behind"),
        pytest.param(TEXT + b"\0", "one armoured block", id="nul-behind"),
        pytest.param(BEGIN + b"\n" + END + b"\n", "an empty line", id="nothing-in-it"),
        pytest.param(BEGIN + b"\n\n" + END + b"\n", "an empty line", id="no-base64"),
        pytest.param(BEGIN + b"\n\n=twTO\n" + END, "canonical", id="only-a-checksum"),
        pytest.param(TEXT.replace(b"\n\n", b"\n"), "an empty line", id="no-empty-line"),
        pytest.param(TEXT.replace(b"\n\n", b"\n \n"), "an empty line", id="blank-for-empty-line"),
        pytest.param(TEXT.replace(b"\n\n", b"\n\n\n"), "a line of base64", id="two-empty-lines"),
        pytest.param(TEXT.replace(LINES[3], b""), "a line of base64", id="empty-line-inside"),
        pytest.param(TEXT.replace(LINES[3], LINES[3] + b" "), "of base64", id="blank-at-line-end"),
        pytest.param(TEXT.replace(LINES[3], b"-" + LINES[3][1:]), "of base64", id="url-alphabet"),
        pytest.param(TEXT.replace(LINES[3], LINES[3] * 2), "of base64", id="line-too-long"),
        pytest.param(TEXT.replace(LINES[3], LINES[3][:-2] + b"=="), "base64", id="padding-inside"),
        pytest.param(TEXT.replace(LINES[3], LINES[3][:-1]), "base64", id="one-character-short"),
        pytest.param(TEXT.replace(LINES[7], b"/x=="), "base64", id="bits-behind-the-end"),
        pytest.param(TEXT.replace(b"\n=", b"\n=A"), "base64", id="checksum-too-long"),
        pytest.param(
            TEXT.replace(LINES[-3], b"=AAAA"), "expected armour checksum AAAA", id="wrong-checksum"
        ),
        pytest.param(
            armour("SIGNATURE", PACKETS, headers=["X-Other: 1"]), "an armour header", id="header"
        ),
        pytest.param(
            armour("SIGNATURE", PACKETS, headers=["Version:1"]), "an armour header", id="no-blank"
        ),
        pytest.param(
            armour("SIGNATURE", PACKETS, headers=["Comment: \x1b[2J"]), "header", id="escape"
        ),
        pytest.param(TEXT + b"\n" * 4096, "at most 4096 bytes", id="endless"),
    ],
)
def test_any_other_text_is_refused(text: bytes, refusal: str) -> None:
    with pytest.raises(VerificationError, match=refusal):
        _dearmour(text)
