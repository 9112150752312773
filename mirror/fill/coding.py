"""Undo a content coding under a cap, so that a small answer cannot become a big object.

Rules:
1. Only gzip is undone (RFC 9110 8.4.1.3); several members are one content, as RFC 1952 2.2 says.
2. A coded content that ends early, or goes on behind its end, is damaged.
3. At most `MEMBERS_MAX` members, so that the work stays linear in the size of the content.

Units: bytes. Runs in: keeper. Pure.
"""

from __future__ import annotations

import zlib

GZIP_NAMES = frozenset(("gzip", "x-gzip"))
_GZIP_WBITS = 31
# Servers write one member; concatenating tools a few. Each costs a copy of what follows it, so
# many make the work quadratic (2 MiB of empty members: 105 000 of them, 3 s).
MEMBERS_MAX = 16


class CodingError(ValueError):
    """The content is not what its Content-Encoding says, or too large undone."""


def decode_content(content: bytes, coding: str, limit_bytes: int) -> bytes:
    """Return the content without its coding; `coding` is the field's value. Raises CodingError."""
    name = coding.strip().lower()
    if name in ("", "identity"):
        return content
    if name not in GZIP_NAMES:
        raise CodingError(f"a content coding that was not asked for: {name[:40]!r}")
    pieces: list[bytes] = []  # joined without a copy when there is one member
    decoded_bytes = 0
    rest = content
    members = 0
    while rest or not decoded_bytes:
        members += 1
        if members > MEMBERS_MAX:
            raise CodingError(f"more than {MEMBERS_MAX} gzip members")
        member = zlib.decompressobj(_GZIP_WBITS)
        try:
            # One byte over the limit is enough to know.
            pieces.append(member.decompress(rest, limit_bytes + 1 - decoded_bytes))
        except zlib.error as exc:
            raise CodingError("damaged gzip content") from exc
        decoded_bytes += len(pieces[-1])
        if decoded_bytes > limit_bytes:
            raise CodingError(f"more than {limit_bytes} bytes when decoded")
        if not member.eof:
            raise CodingError("gzip content that ends early")
        rest = member.unused_data
        if not decoded_bytes and not rest:
            break
    return b"".join(pieces)
