"""A reader of multipart/byteranges messages, apart from the product.

Rules:
1. It is strict: nothing before the first delimiter, nothing but a line end after the last, exactly
   Content-Type and Content-Range in each part, as many bytes as Content-Range says.

Runs in: tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyPart:
    """Bytes `first` to `last`, both included, of a representation of `length` bytes."""

    media_type: str
    first: int
    last: int
    length: int
    content: bytes


def read_parts(content_type: str, message: bytes) -> list[BodyPart]:
    """Return the parts of a message in their order; raise ValueError for what is none."""
    kind = re.fullmatch(r"multipart/byteranges; boundary=([0-9a-zA-Z]{1,70})", content_type)
    if kind is None:
        raise ValueError(f"another Content-Type: {content_type}")
    delimiter = b"\r\n--" + kind[1].encode()
    before, *parts, after = (b"\r\n" + message).split(delimiter)
    if before or after != b"--\r\n" or not parts:
        raise ValueError("no multipart message, or not only one")
    return [_read_part(part) for part in parts]


def _read_part(part: bytes) -> BodyPart:
    head, found, content = part.partition(b"\r\n\r\n")
    line_end, *lines = head.decode("ascii").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    if line_end or not found or sorted(fields) != ["Content-Range", "Content-Type"]:
        raise ValueError(f"no part head: {head!r}")
    place = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", fields["Content-Range"])
    if place is None:
        raise ValueError(f"no place: {head!r}")
    first, last, length = (int(digits) for digits in place.groups())
    if last - first + 1 != len(content):
        raise ValueError(f"{len(content)} bytes in the part of {place[0]}")
    return BodyPart(
        media_type=fields["Content-Type"], first=first, last=last, length=length, content=content
    )
