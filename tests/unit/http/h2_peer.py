"""A client made of single frames, right and wrong ones, and the reading of what a session sends.

Runs in: pytest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import hpack
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame, SettingsFrame

from mirror.http.h2_events import Event
from mirror.http.h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame_head,
)
from mirror.http.h2_limits import Limits
from mirror.http.h2_session import Session

Lines = Iterable[tuple[bytes, bytes]]

GET: list[tuple[bytes, bytes]] = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"mirror.example"),
    (b":path", b"/config.json"),
]
POST = [(b":method", b"POST"), *GET[1:]]


def literals(lines: Lines) -> bytes:
    """A block of literals that are not indexed: right in any state of the table."""
    block = bytearray()
    for name, value in lines:
        block.append(0)
        for raw in (name, value):
            block += bytes(hpack.hpack.encode_integer(len(raw), 7)) + raw
    return bytes(block)


def frame(type_: int, stream_id: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return frame_head(len(payload), type_, flags, stream_id) + payload


def headers(
    stream_id: int, lines: Lines = (*GET,), *, ends: bool = True, flags: int = 0, lead: bytes = b""
) -> bytes:
    flags |= END_HEADERS | (END_STREAM if ends else 0)
    return frame(HEADERS, stream_id, lead + literals(lines), flags)


def open_headers(stream_id: int, block: bytes, *, ends: bool = True) -> bytes:
    """HEADERS that CONTINUATION frames must follow."""
    return frame(HEADERS, stream_id, block, END_STREAM if ends else 0)


def continuation(stream_id: int, block: bytes, *, is_last: bool) -> bytes:
    return frame(CONTINUATION, stream_id, block, END_HEADERS if is_last else 0)


def content(stream_id: int, octets: bytes, *, ends: bool = False) -> bytes:
    return frame(DATA, stream_id, octets, END_STREAM if ends else 0)


def rst(stream_id: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, stream_id, code.to_bytes(4, "big"))


def update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, stream_id, increment.to_bytes(4, "big"))


def settings(*pairs: tuple[int, int]) -> bytes:
    payload = b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in pairs)
    return frame(SETTINGS, 0, payload)


SETTINGS_ACK = frame(SETTINGS, 0, flags=ACK)
HELLO = PREFACE + settings() + SETTINGS_ACK
# The reduction of the table that a client owes with its first block after the ACK.
REDUCTION = b"\x20"


def parse(sent: bytes) -> list[Frame]:
    """Every frame in `sent`, read by hyperframe."""
    frames, view = [], memoryview(sent)
    while view:
        found, size = Frame.parse_frame_header(view[:9])
        found.parse_body(view[9 : 9 + size])
        frames.append(found)
        view = view[9 + size :]
    return frames


@dataclass
class Peer:
    """A session after the client's preface and SETTINGS; the ACK is sent unless told otherwise."""

    session: Session

    @classmethod
    def connected(cls, limits: Limits | None = None, *, acknowledges: bool = False) -> Peer:
        """Without the ACK a block of literals needs no reduction in front."""
        session = Session(limits or Limits(), now_s=0.0)
        hello = PREFACE + settings() + (SETTINGS_ACK if acknowledges else b"")
        assert session.receive(hello, 0.0) == [] or acknowledges
        session.take_output()
        return cls(session)

    def send(self, *frames: bytes, now_s: float = 0.0) -> list[Event]:
        return self.session.receive(b"".join(frames), now_s)

    def resets(self) -> list[tuple[int, int]]:
        """(stream, code) of each RST_STREAM in the output, and nothing of the connection."""
        frames = parse(self.session.take_output())
        assert not [f for f in frames if isinstance(f, GoAwayFrame)], frames
        return [(f.stream_id, f.error_code) for f in frames if isinstance(f, RstStreamFrame)]

    def goaway(self) -> GoAwayFrame | None:
        """The last GOAWAY in the output."""
        found = [f for f in parse(self.session.take_output()) if isinstance(f, GoAwayFrame)]
        return found[-1] if found else None

    def verdict(self) -> str:
        """ "ok", or "stream 1" with the code, or "connection" with the code."""
        frames = parse(self.session.take_output())
        for found in frames:
            if isinstance(found, GoAwayFrame):
                return f"connection {found.error_code}"
        for found in frames:
            if isinstance(found, RstStreamFrame):
                return f"stream {found.error_code}"
        assert all(isinstance(f, SettingsFrame) or f.stream_id == 0 for f in frames)
        return "ok"


# What the tables of rules are made of.
PROTOCOL, FLOW, CLOSED, SIZE = "1", "3", "5", "6"
REFUSED, COMPRESSION, CALM = "7", "9", "11"
OPEN = headers(1, POST, ends=False)
HALF_CLOSED = headers(1)
DEPENDENT = b"\x00\x00\x00\x01\x10"  # on stream 1, weight 16
TRAILERS = [(b"x-checksum", b"1")]
GARBAGE = b"\xff" * 12
