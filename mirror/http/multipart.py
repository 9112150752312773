"""multipart/byteranges: several parts of one representation as one message (RFC 9110 section 14.6).

Rules:
1. Only the layout is kept: literal bytes (delimiters and part heads) and stretches of the
   representation take turns, so the length is exact before a byte is sent.
2. Every part names the media type and its place; the parts stand in the order they are given in.
3. The boundary is a keyed digest of the entity tag and the ranges. The entity tag is a digest of
   the content: whoever puts a boundary into the content moves it, and without the key it cannot be
   known before. It is the same for one request repeated to one worker, and costs 2 us.
4. There is nothing before the first delimiter and nothing but a line end after the last.

Units: bytes, half-open offsets; those "of the message" count from the first byte of the content.
Does not: choose ranges (`http.ranges`), or read content.
Runs in: worker. Pure.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mirror.http.ranges import PartialContent, content_range

_BOUNDARY_BYTES: Final = 16  # 128 bits; twice as many characters, of the 70 that are allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Bytes `[start, end)` of the representation."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipart:
    """The content of one message: `heads[0]`, `parts[0]`, `heads[1]`, … and `heads[-1]` the end.

    `offsets`: where each of these begins in the message. `length` of all.
    """

    heads: tuple[bytes, ...]
    parts: tuple[PartialContent, ...]
    offsets: tuple[int, ...]
    length: int

    def locate(self, offset: int) -> bytes | Stretch:
        """Return what the message is made of from `offset` on: the rest of a literal, or of a
        stretch; an empty literal from the end on."""
        piece = bisect_right(self.offsets, offset) - 1
        within = offset - self.offsets[piece]
        if piece % 2:
            part = self.parts[piece // 2]
            return Stretch(start=part.start + within, end=part.end)
        return self.heads[piece // 2][within:]

    def reach(self, available_from: Callable[[int], int]) -> int:
        """Return how far the message can be sent while a part of the representation is missing.

        `available_from` says of an offset of the representation up to where it can be read from
        there; no more than the offset itself: not at all.
        """
        for index, part in enumerate(self.parts):
            available = available_from(part.start)
            if available < part.end:
                return self.offsets[2 * index + 1] + max(0, available - part.start)
        return self.length

    def given(self, offset: int) -> int:
        """Return the end of what the message's first `offset` bytes hold of the representation."""
        ends = [
            part.start + min(offset - begun, part.end - part.start)
            for part, begun in zip(self.parts, self.offsets[1::2], strict=True)
            if offset > begun
        ]
        return max(ends, default=0)

    def join(self, content: bytes) -> bytes:
        """Return the message of a representation that is in memory."""
        pieces = [self.heads[0]]
        for part, head in zip(self.parts, self.heads[1:], strict=True):
            pieces += content[part.start : part.end], head
        return b"".join(pieces)


def lay_out(
    parts: Sequence[PartialContent], complete_length: int, media_type: bytes, boundary: bytes
) -> Multipart:
    """Return the layout of `parts` of a representation of `complete_length` bytes."""
    heads = [
        b"%b--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
        % (
            b"\r\n" if index else b"",
            boundary,
            media_type,
            content_range(part.start, part.end, complete_length),
        )
        for index, part in enumerate(parts)
    ]
    heads.append(b"\r\n--%b--\r\n" % boundary)
    offsets = [0]
    for part, head in zip(parts, heads, strict=False):
        offsets.append(offsets[-1] + len(head))
        offsets.append(offsets[-1] + part.end - part.start)
    return Multipart(
        heads=tuple(heads),
        parts=tuple(parts),
        offsets=tuple(offsets),
        length=offsets[-1] + len(heads[-1]),
    )


def boundary_of(key: bytes, etag: bytes, parts: Sequence[PartialContent]) -> bytes:
    """Return the boundary of `parts` of what `etag` names; `key` is at most 64 bytes."""
    digest = hashlib.blake2b(etag, key=key, digest_size=_BOUNDARY_BYTES)
    digest.update(b"".join(b" %d-%d" % (part.start, part.end) for part in parts))
    return digest.hexdigest().encode()


def multipart_type(boundary: bytes) -> bytes:
    """Return the Content-Type value of the message."""
    return b"multipart/byteranges; boundary=%b" % boundary
