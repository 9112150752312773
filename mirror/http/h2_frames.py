"""HTTP/2 frames as bytes: reading them one after the other, and writing them (RFC 9113 section 4).

Rules:
1. A frame comes out complete or not at all; one longer than 16,384 bytes, which is what this
   server announces, ends the connection before its content is kept.
2. Reading costs the same per byte whatever the pieces are that bytes arrive in; at most one
   incomplete frame is kept.
3. What is written is always valid: callers hand in values, not frames.

Units: bytes. Stream identifiers are integers without the reserved bit.
Does not: know streams, states, or what a field block says.
Runs in: worker. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeVar

from mirror.http.h2_errors import Code, H2ConnectionError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES: Final = 9
# The smallest that RFC 9113 section 6.5.2 admits, announced and also used for what is sent: a
# longer frame would keep other streams waiting.
MAX_FRAME_BYTES: Final = 16_384
ALL_STREAMS: Final = 2**31 - 1  # "no stream is refused" in a GOAWAY (section 6.8)
_HEAD: Final = struct.Struct(">HBBBL")  # the length in two parts, type, flags, stream
_REQUEST: Final = struct.Struct(">LBL")  # length and type, flags, stream
_U32: Final = struct.Struct(">L")
_GOAWAY: Final = struct.Struct(">LL")
_SETTING: Final = struct.Struct(">HL")

# Types; integers and not an enum, because every frame looks one up.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

# Flags.
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20


R = TypeVar("R")


class Frame(NamedTuple):
    """One frame; a tuple because one is made for every few bytes that arrive."""

    type: int
    flags: int
    stream_id: int
    payload: bytes


class FrameReader:
    """Cuts a byte stream into frames."""

    __slots__ = ("_at", "_bytes", "_needed_bytes", "_rest")

    def __init__(self) -> None:
        self._bytes = b""  # being read from `_at` on
        self._at = 0
        self._rest = bytearray()  # the beginning of a frame whose end has not arrived
        self._needed_bytes = HEAD_BYTES  # of `_rest`, before reading it makes sense

    def __repr__(self) -> str:
        return f"<FrameReader kept={len(self._rest) + len(self._bytes) - self._at}>"

    @property
    def next_type(self) -> int | None:
        """The type of the frame that `read` would return; None when its head has not come."""
        at = self._at + 3  # behind the length
        return self._bytes[at] if len(self._bytes) - self._at >= HEAD_BYTES else None

    def feed(self, received: bytes) -> None:
        """Take bytes."""
        if self._at < len(self._bytes):  # not read to its end
            self._bytes = self._bytes[self._at :] + received
        elif not self._rest:
            self._bytes = received
        else:
            self._rest += received
            if len(self._rest) < self._needed_bytes:
                return
            self._bytes = bytes(self._rest)
            self._rest.clear()
        self._at = 0

    def read(self) -> Frame | None:
        """Return the next frame, or None when more bytes are needed.

        Raises: H2ConnectionError for a frame that is too long.
        """
        source, at = self._bytes, self._at
        if len(source) - at < HEAD_BYTES:
            self._keep(HEAD_BYTES)
            return None
        high, low, type_, flags, stream_id = _HEAD.unpack_from(source, at)
        size = (high << 8) | low
        if size > MAX_FRAME_BYTES:
            raise H2ConnectionError(Code.FRAME_SIZE_ERROR, "A frame is longer than announced.")
        end = at + HEAD_BYTES + size
        if end > len(source):
            self._keep(HEAD_BYTES + size)
            return None
        self._at = end
        return Frame(type_, flags, stream_id & 0x7FFF_FFFF, source[at + HEAD_BYTES : end])

    def read_known(
        self, recall: Callable[[bytes], R | None], ids: range, most: int
    ) -> list[tuple[int, R]]:
        """Read HEADERS that are whole requests, unpadded and without priority, of rising streams
        in `ids`, while `recall` knows their blocks; the streams and what it knows, up to `most`.

        Measured: 0.4 us per request, `recall` included, where `read` alone takes 0.6.
        """
        source, at = self._bytes, self._at
        size = len(source) - HEAD_BYTES
        least, step = ids.start, ids.step
        read: list[tuple[int, R]] = []
        while len(read) < most and at <= size:
            length, flags, stream_id = _REQUEST.unpack_from(source, at)
            if length & 0xFF != HEADERS or flags != END_STREAM | END_HEADERS:
                break
            if stream_id < least or stream_id not in ids:
                break
            begin = at + HEAD_BYTES
            end = begin + (length >> 8)
            # Longer than `MAX_FRAME_BYTES` it is not known.
            if end > len(source) or (known := recall(source[begin:end])) is None:
                break
            read.append((stream_id, known))
            at, least = end, stream_id + step
        self._at = at
        return read

    def _keep(self, needed_bytes: int) -> None:
        if self._at < len(self._bytes):
            self._rest += self._bytes[self._at :]
            self._needed_bytes = needed_bytes
        self._bytes = b""
        self._at = 0


def unpadded(frame: Frame) -> bytes:
    """Return the payload without its padding (section 6.1). Raises: H2ConnectionError."""
    payload = frame.payload
    if not frame.flags & PADDED:
        return payload
    if not payload:
        raise H2ConnectionError(Code.FRAME_SIZE_ERROR, "A padded frame is empty.")
    if payload[0] >= len(payload):
        raise H2ConnectionError(Code.PROTOCOL_ERROR, "A frame's padding is longer than the frame.")
    return payload[1 : len(payload) - payload[0]]


def u31(payload: bytes) -> int:
    """Return the first four bytes as a number without the reserved bit."""
    number: int = _U32.unpack_from(payload)[0]
    return number & 0x7FFF_FFFF


def u32(payload: bytes, at: int = 0) -> int:
    """Return the four bytes at `at` as a number."""
    number: int = _U32.unpack_from(payload, at)[0]
    return number


def settings_pairs(payload: bytes) -> Iterable[tuple[int, int]]:
    """Return (identifier, value) in order; the length is a multiple of six."""
    return _SETTING.iter_unpack(payload)


def frame_head(size_bytes: int, type_: int, flags: int, stream_id: int) -> bytes:
    """Return the nine bytes in front of a payload of `size_bytes`."""
    return _HEAD.pack(size_bytes >> 8, size_bytes & 0xFF, type_, flags, stream_id)


def settings_frame(pairs: Iterable[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join(_SETTING.pack(identifier, value) for identifier, value in pairs)
    return frame_head(len(payload), SETTINGS, 0, 0) + payload


SETTINGS_ACK: Final = frame_head(0, SETTINGS, ACK, 0)


def ping(payload: bytes) -> bytes:
    """Return a PING of 8 bytes of any content."""
    return frame_head(8, PING, 0, 0) + payload


def ping_ack(payload: bytes) -> bytes:
    """Return the answer to a PING of these eight bytes."""
    return frame_head(8, PING, ACK, 0) + payload


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return an RST_STREAM frame."""
    return frame_head(4, RST_STREAM, 0, stream_id) + _U32.pack(code)


def window_update(stream_id: int, increment_bytes: int) -> bytes:
    """Return a WINDOW_UPDATE frame; `stream_id` 0 is the connection."""
    return frame_head(4, WINDOW_UPDATE, 0, stream_id) + _U32.pack(increment_bytes)


def goaway(last_stream_id: int, code: int, reason: bytes = b"") -> bytes:
    """Return a GOAWAY frame; `reason` is for the reader of a trace."""
    payload = _GOAWAY.pack(last_stream_id, code) + reason
    return frame_head(len(payload), GOAWAY, 0, 0) + payload


def header_frames(stream_id: int, block: bytes, *, ends: bool) -> bytes:
    """Return HEADERS and, for a long block, CONTINUATION frames."""
    flags = END_STREAM if ends else 0
    if len(block) <= MAX_FRAME_BYTES:
        return frame_head(len(block), HEADERS, flags | END_HEADERS, stream_id) + block
    parts: list[bytes] = []
    for at in range(0, len(block), MAX_FRAME_BYTES):
        part = block[at : at + MAX_FRAME_BYTES]
        type_, flags = (CONTINUATION, 0) if at else (HEADERS, flags)
        if at + MAX_FRAME_BYTES >= len(block):
            flags |= END_HEADERS
        parts += (frame_head(len(part), type_, flags, stream_id), part)
    return b"".join(parts)


def data_frames(
    stream_id: int, content: bytes | memoryview, *, ends: bool
) -> list[bytes | memoryview]:
    """Return heads and parts of `content` in turn; the parts are views and are not copied."""
    view = memoryview(content)
    size = len(view)
    if size <= MAX_FRAME_BYTES:
        return [frame_head(size, DATA, END_STREAM if ends else 0, stream_id), view]
    frames: list[bytes | memoryview] = []
    for at in range(0, size, MAX_FRAME_BYTES):
        end = min(at + MAX_FRAME_BYTES, size)
        flags = END_STREAM if ends and end == size else 0
        frames += (frame_head(end - at, DATA, flags, stream_id), view[at:end])
    return frames
