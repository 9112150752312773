"""HTTP/2 by hand: frames and field blocks as bytes, valid or not, and what a server says to them.

Rules:
1. Nothing here refuses to be sent: the cases are made of what a library would not write.
2. What the server sends is judged as it comes (RFC 9113): SETTINGS first, no frame longer than
   16,384 bytes, nothing on a stream that it has ended, no PUSH_PROMISE.

Units: bytes.
Runs in: tests.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6
HEAD_BYTES = 9
MOST_BYTES = 16_384
_PIECE_BYTES = 1 << 16


def frame(type_: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame; bit 31 of `stream_id` is the reserved bit."""
    head = struct.pack(">HBBBL", len(payload) >> 8, len(payload) & 0xFF, type_, flags, stream_id)
    return head + payload


def u32(number: int) -> bytes:
    return struct.pack(">L", number)


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *pair) for pair in pairs))


def ping(payload: bytes) -> bytes:
    return frame(PING, 0, 0, payload)


def window_update(stream_id: int, increment_bytes: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, u32(increment_bytes))


def priority(stream_id: int, depends_on: int = 0, weight: int = 15) -> bytes:
    return frame(PRIORITY, 0, stream_id, u32(depends_on) + bytes((weight,)))


def integer(number: int, prefix_bits: int, first: int = 0) -> bytes:
    """Return a number of RFC 7541 section 5.1; `first` holds the bits above the prefix."""
    most = (1 << prefix_bits) - 1
    if number < most:
        return bytes((first | number,))
    encoded = bytearray((first | most,))
    number -= most
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


def string(text: bytes, *, is_huffman: bool = False) -> bytes:
    """Return a string literal; `text` is coded already when `is_huffman`."""
    return integer(len(text), 7, 0x80 if is_huffman else 0) + text


def literal(name: bytes, value: bytes, kind: int = 0x00) -> bytes:
    """Return a field line with a new name, uncoded strings; `kind` 0x40 indexes, 0x10 never."""
    return bytes((kind,)) + string(name) + string(value)


def block(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return a field block of literals that leaves the dynamic table alone.

    It begins with a table size of 0: the first block after the acknowledgement of a smaller limit
    must (RFC 9113 section 4.3.1), and every other may.
    """
    lines = (literal(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)
    return b"\x20" + b"".join(lines)


@dataclass
class Seen:
    """What a server sent on one connection."""

    first: tuple[int, int] = (-1, -1)  # type and flags
    settings: dict[int, int] = field(default_factory=dict)
    acks: int = 0  # of SETTINGS
    pongs: list[bytes] = field(default_factory=list)
    goaway: int | None = None
    resets: dict[int, int] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)
    data: dict[int, list[int]] = field(default_factory=dict)  # sizes of the frames of a stream
    ended: set[int] = field(default_factory=set)
    updates: Counter[int] = field(default_factory=Counter)
    is_closed: bool = False

    def is_over(self, stream_id: int) -> bool:
        return stream_id in self.ended or stream_id in self.resets


class RawPeer:
    """A client's socket."""

    def __init__(self, port: int, deadline_s: float) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=deadline_s)
        # Or a small piece waits for the acknowledgement of the one before, which comes 40 ms late.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""
        self._decoder = hpack.Decoder()
        self.seen = Seen()

    def close(self) -> None:
        self._socket.close()

    def send(self, *frames: bytes) -> None:
        """Send all in one piece; a server that has closed is found by reading."""
        try:
            self._socket.sendall(b"".join(frames))
        except OSError:
            self.seen.is_closed = True

    def begin(self, *pairs: tuple[int, int], acknowledges: bool = True) -> None:
        """Preface and SETTINGS both ways."""
        self.send(PREFACE, settings(*pairs))
        self.until(lambda: self.seen.settings != {} and self.seen.acks > 0)
        if acknowledges:
            self.send(frame(SETTINGS, ACK, 0))

    def until(self, claim: Callable[[], bool]) -> None:
        """Read until `claim` holds or the server closes. Raises: TimeoutError."""
        while not claim() and not self.seen.is_closed:
            try:
                received = self._socket.recv(_PIECE_BYTES)
            except ConnectionResetError:
                received = b""
            self.seen.is_closed = not received
            self._unread += received
            self._read()

    def _read(self) -> None:
        while len(self._unread) >= HEAD_BYTES:
            high, low, type_, flags, stream_id = struct.unpack_from(">HBBBL", self._unread)
            end = HEAD_BYTES + (high << 8 | low)
            assert end <= HEAD_BYTES + MOST_BYTES, f"a frame of {end} bytes"
            if len(self._unread) < end:
                return
            payload, self._unread = self._unread[HEAD_BYTES:end], self._unread[end:]
            self._note(type_, flags, stream_id, payload)

    def _note(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        seen = self.seen
        if seen.first == (-1, -1):
            seen.first = (type_, flags)
        if type_ in (HEADERS, DATA):
            assert not seen.is_over(stream_id), f"frame {type_} on the ended stream {stream_id}"
        if type_ == HEADERS:
            self._note_head(flags, stream_id, payload)
        elif type_ == DATA:
            assert stream_id in seen.statuses
            seen.data.setdefault(stream_id, []).append(len(payload))
        elif type_ == RST_STREAM:
            seen.resets[stream_id] = int.from_bytes(payload, "big")
        elif type_ == WINDOW_UPDATE:
            seen.updates[stream_id] += 1
        else:
            assert stream_id == 0, f"frame {type_} of stream {stream_id}"
            self._note_control(type_, flags, payload)
        if type_ in (HEADERS, DATA) and flags & END_STREAM:
            seen.ended.add(stream_id)

    def _note_head(self, flags: int, stream_id: int, payload: bytes) -> None:
        assert flags & END_HEADERS
        fields = dict(self._decoder.decode(payload, raw=True))
        assert stream_id not in self.seen.statuses
        self.seen.statuses[stream_id] = int(fields[b":status"])

    def _note_control(self, type_: int, flags: int, payload: bytes) -> None:
        seen = self.seen
        if type_ == SETTINGS and flags & ACK:
            assert payload == b""
            seen.acks += 1
        elif type_ == SETTINGS:
            seen.settings.update(struct.iter_unpack(">HL", payload))
        elif type_ == PING:
            assert flags & ACK
            assert len(payload) == 8
            seen.pongs.append(payload)
        else:
            assert type_ == GOAWAY, f"a frame of type {type_}"
            seen.goaway = int.from_bytes(payload[4:8], "big")
