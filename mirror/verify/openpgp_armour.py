"""ASCII armour (RFC 4880, section 6; RFC 9580, section 6): text to packets, strictly.

Rules:
1. One block of the wanted title: BEGIN line, armour headers, an empty line, base64, END line.
   Before it stands nothing, after it white space only: what a lenient reader skips, another reader
   takes for the signature.
2. Armour headers are the five that RFC 4880 names; their values are ignored.
3. Base64 is canonical: one way to write the packets, no stray characters, no bits behind the end.
4. A CRC24 line may be missing (RFC 9580, section 6.1; GnuPG 2.2 then misreads some signatures); one
   that is there must be right. It guards against accidents only and is never taken for a proof.

Does not: read packets, or know cleartext signatures.
Runs in: keeper. Pure.
"""

from __future__ import annotations

import base64
import binascii
import re

from mirror.errors import VerificationError
from mirror.verify.digests import shown

_HEADER = re.compile(rb"(?:Version|Comment|MessageID|Hash|Charset): [\x20-\x7e]*")
# 76 characters are RFC 4880's limit (section 6.3); GnuPG and Rust's signer write 64.
_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]{1,76}={0,2}")
_CHECKSUM_LINE = re.compile(rb"=([A-Za-z0-9+/]{4})")
_LINE_END = re.compile(rb"\r?\n")
_CRC_START, _CRC_POLYNOMIAL = 0xB704CE, 0x1864CFB  # RFC 4880, section 6.1


def dearmour(text: bytes, title: str, source: str, *, limit_bytes: int) -> bytes:
    """Return the packets of the one block titled `title` ("SIGNATURE", "PUBLIC KEY BLOCK").

    Raises: VerificationError for any other text, or one longer than `limit_bytes`.
    """
    if len(text) > limit_bytes:
        raise VerificationError(
            source, expected=f"at most {limit_bytes} bytes of armour", got=str(len(text))
        )
    lines = _LINE_END.split(text)
    body = _body(lines, title, source)
    start = next((index + 1 for index, line in enumerate(body) if not line), 0)
    for line in body[: max(start - 1, 0)]:
        if _HEADER.fullmatch(line) is None:
            raise VerificationError(source, expected="an armour header", got=shown(line))
    content = body[start:]
    if not start or not content:
        raise VerificationError(source, expected="an empty line and base64", got=shown(text))
    checksum = _CHECKSUM_LINE.fullmatch(content[-1])
    packets = _decode(content[:-1] if checksum else content, source)
    if checksum:
        _check_crc(packets, checksum[1], source)
    return packets


def _body(lines: list[bytes], title: str, source: str) -> list[bytes]:
    """Return the lines between BEGIN and END."""
    begin, end = (f"-----{word} PGP {title}-----".encode() for word in ("BEGIN", "END"))
    if lines[0] != begin:
        raise VerificationError(source, expected=begin.decode(), got=shown(lines[0]))
    try:
        last = lines.index(end)
    except ValueError as exc:
        raise VerificationError(source, expected=end.decode(), got="no such line") from exc
    trailing = b"\n".join(lines[last + 1 :])
    if trailing.strip(b" \t\r\n"):
        raise VerificationError(source, expected="one armoured block", got=shown(trailing))
    return lines[1:last]


def _decode(lines: list[bytes], source: str) -> bytes:
    for line in lines:
        if _BASE64_LINE.fullmatch(line) is None:
            raise VerificationError(source, expected="a line of base64", got=shown(line))
    text = b"".join(lines)
    try:
        packets = base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise VerificationError(source, expected="base64", got=str(exc)) from exc
    # b64decode drops bits behind the last whole byte: only encoding again shows them.
    if not packets or base64.b64encode(packets) != text:
        raise VerificationError(source, expected="canonical base64", got=shown(text[-8:]))
    return packets


def _check_crc(packets: bytes, stated: bytes, source: str) -> None:
    found = base64.b64encode(crc24(packets).to_bytes(3, "big"))
    if found != stated:
        raise VerificationError(
            source, expected=f"armour checksum {stated.decode()}", got=found.decode()
        )


def crc24(content: bytes) -> int:
    """Return the checksum of RFC 4880, section 6.1."""
    crc = _CRC_START
    for byte in content:
        crc = (crc << 8 & 0xFFFF00) ^ _CRC_TABLE[crc >> 16 ^ byte]
    return crc


def _crc_of_byte(byte: int) -> int:
    crc = byte << 16
    for _ in range(8):
        crc <<= 1
        if crc & 0x1000000:
            crc ^= _CRC_POLYNOMIAL
    return crc


# By bytes, not bits: a hostile key block of 1 MiB takes 0.1 s instead of one second.
_CRC_TABLE = tuple(_crc_of_byte(byte) for byte in range(256))
