"""The worker-keeper wire format: frames on a unix stream socket.

    0      1      2        4          8          12
    +------+------+--------+----------+----------+---------
    | ver  | type | zero   | stream   | length   | payload
    +------+------+--------+----------+----------+---------

Rules:
1. All integers are big-endian; `length` counts the payload, at most `MAX_PAYLOAD_BYTES`.
2. Stream 0 is the connection itself (HELLO, PROGRESS, USED, CHECK, CODE); requests use ids that
   the asking side counts up from 1, never reused on one connection.
3. DATA is the only frame under credit: per stream and direction a sender starts with
   `INITIAL_CREDIT_BYTES` and gets more by CREDIT. Everything else is small and bounded.
4. A frame of another version, an unknown type or a longer payload ends the connection.

Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

PROTOCOL_VERSION = 4
MAX_PAYLOAD_BYTES = 65536 - 12  # a frame is at most 64 KiB
INITIAL_CREDIT_BYTES = 262144  # two socket buffers: keeps a stream busy across one round trip
_HEAD = struct.Struct("!BBHII")


class FrameType(enum.IntEnum):
    HELLO = 1  # both ways, first, stream 0
    ASK = 2  # worker -> keeper: opens a stream
    ANSWER = 3  # keeper -> worker: stored, growing, inline, absent or failed
    DATA = 4  # both ways, under credit
    END = 5  # the sender's half of the stream is complete; payload empty, or a failure
    CREDIT = 6  # both ways: 4 bytes, how many more the receiver takes
    CANCEL = 7  # worker -> keeper: nobody waits for this stream any more
    PROGRESS = 8  # keeper -> worker, stream 0: one flight moved
    USED = 9  # worker -> keeper, stream 0: objects served lately
    CHECK = 10  # worker -> keeper, stream 0: crates whose index entry wants a confirmation
    CODE = 11  # worker -> keeper, stream 0: objects whose gzip variant is wanted


@dataclass(frozen=True, slots=True)
class Frame:
    type: FrameType
    stream: int
    payload: bytes


class FrameError(Exception):
    """The peer does not speak this protocol; the connection must be closed."""


def encode_frame(type: FrameType, stream: int, payload: bytes = b"") -> bytes:
    """Return the frame as bytes. Raises ValueError for a payload over the limit (misuse)."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"payload of {len(payload)} bytes")
    return _HEAD.pack(PROTOCOL_VERSION, type, 0, stream, len(payload)) + payload


class FrameReader:
    """Cuts a byte stream into frames; holds at most one incomplete frame."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes. Raises FrameError on another protocol."""
        self._buffer += data
        frames: list[Frame] = []
        at = 0
        while len(self._buffer) - at >= _HEAD.size:
            version, type_, _, stream, length = _HEAD.unpack_from(self._buffer, at)
            if version != PROTOCOL_VERSION:
                raise FrameError(f"protocol version {version}, this side speaks {PROTOCOL_VERSION}")
            if length > MAX_PAYLOAD_BYTES:
                raise FrameError(f"payload of {length} bytes")
            end = at + _HEAD.size + length
            if len(self._buffer) < end:
                break
            try:
                frame_type = FrameType(type_)
            except ValueError as exc:
                raise FrameError(f"frame type {type_}") from exc
            frames.append(Frame(frame_type, stream, bytes(self._buffer[at + _HEAD.size : end])))
            at = end
        del self._buffer[:at]
        return frames
