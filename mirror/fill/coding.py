"""Undo a content coding under a cap, so that a small answer cannot become a big object.

Rules:
1. Only gzip is undone (RFC 9110 8.4.1.3); several members are one content, as RFC 1952 2.2 says.
2. A coded content that ends early, or goes on behind its end, is damaged.

Units: bytes. Runs in: keeper. Pure.
"""

from __future__ import annotations

import zlib

_GZIP_WBITS = 31


class CodingError(ValueError):
    """The content is not what its Content-Encoding says, or too large undone."""


def decode_content(content: bytes, coding: str, limit_bytes: int) -> bytes:
    """Return the content without its coding; `coding` is the field's value. Raises CodingError."""
    name = coding.strip().lower()
    if name in ("", "identity"):
        return content
    if name not in ("gzip", "x-gzip"):
        raise CodingError(f"a content coding that was not asked for: {name[:40]!r}")
    decoded = bytearray()
    rest = content
    while rest or not decoded:
        member = zlib.decompressobj(_GZIP_WBITS)
        try:
            # One byte over the limit is enough to know.
            decoded += member.decompress(rest, limit_bytes + 1 - len(decoded))
        except zlib.error as exc:
            raise CodingError("damaged gzip content") from exc
        if len(decoded) > limit_bytes:
            raise CodingError(f"more than {limit_bytes} bytes when decoded")
        if not member.eof:
            raise CodingError("gzip content that ends early")
        rest = member.unused_data
        if not decoded and not rest:
            break
    return bytes(decoded)
