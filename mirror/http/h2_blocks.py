"""Field blocks of responses (RFC 7541), written without a dynamic table.

Rules:
1. Literals without indexing, names by their index in the static table, no Huffman coding: a block
   says the same on every connection, and may be kept.
2. Fields about an HTTP/1.1 connection are left out (RFC 9113 section 8.2.2).
3. A response head comes from this program and is not checked again.

Does not: know connections; the size update that one may owe its client is the session's.
Runs in: worker. Pure.
"""

from __future__ import annotations

from typing import Final

from mirror.http.h2_fields import OF_CONNECTIONS

MAX_KEPT_LINES: Final = 4096  # what is kept has about 75 bytes: under 1.5 MB

_STATUS: Final = {
    200: b"\x88",
    204: b"\x89",
    206: b"\x8a",
    304: b"\x8b",
    400: b"\x8c",
    404: b"\x8d",
    500: b"\x8e",
}
_OTHER_STATUS: Final = b"\x08\x03%d"  # literal, name 8 (":status"), three digits
# RFC 7541 appendix A, from 15 on; those before are pseudo-header fields.
_NAMES: Final = (
    b"accept-charset accept-encoding accept-language accept-ranges accept "
    b"access-control-allow-origin age allow authorization cache-control content-disposition "
    b"content-encoding content-language content-length content-location content-range "
    b"content-type cookie date etag expect expires from host if-match if-modified-since "
    b"if-none-match if-range if-unmodified-since last-modified link location max-forwards "
    b"proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie "
    b"strict-transport-security transfer-encoding user-agent vary via www-authenticate"
).split()
_INDEX: Final = {name: index for index, name in enumerate(_NAMES, 15)}


def encode_head(status: int, lines: bytes) -> bytes:
    """Return the block of a response; `lines` are complete HTTP/1.1 field lines."""
    return encode_status(status) + encode_lines(lines)


def encode_lines(lines: bytes) -> bytes:
    """Return complete HTTP/1.1 field lines as they stand in a block."""
    return b"".join([_line(line) for line in lines.split(b"\r\n") if line])


class HeadEncoder:
    """`encode_head` and `encode_lines`, keeping what was written: most of it comes again."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {b"": b""}

    def __repr__(self) -> str:
        return f"<HeadEncoder {len(self._kept)} lines>"

    def encode(self, status: int, lines: bytes) -> bytes:
        """Return the block of a response; `lines` are complete HTTP/1.1 field lines."""
        parts = [encode_status(status)]
        parts += [self.lines(line) for line in lines.split(b"\r\n")]
        return b"".join(parts)

    def lines(self, lines: bytes) -> bytes:
        """See `encode_lines`."""
        part = self._kept.get(lines)
        if part is None:
            part = encode_lines(lines)
            if len(self._kept) >= MAX_KEPT_LINES:
                self._kept.clear()  # dates and tags that went by; what is used comes back
                self._kept[b""] = b""
            self._kept[lines] = part
        return part


def encode_status(status: int) -> bytes:
    return _STATUS.get(status) or _OTHER_STATUS % status


def _line(line: bytes) -> bytes:
    raw_name, _, raw_value = line.partition(b":")
    name, value = raw_name.lower(), raw_value.strip(b" \t")
    if name in OF_CONNECTIONS:
        return b""
    index = _INDEX.get(name)
    if index is None:
        return b"\x00" + _string(name) + _string(value)
    return bytes((0x0F, index - 15)) + _string(value)


def _string(raw: bytes) -> bytes:
    """The length with a prefix of seven bits (RFC 7541 section 5.1), then the bytes."""
    size = len(raw)
    if size < 127:
        return bytes((size,)) + raw
    size -= 127
    head = bytearray((127,))
    while size >= 128:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + raw
