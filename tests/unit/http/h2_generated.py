"""Generated frame sequences of a client, mostly valid, sometimes mutated.

Runs in: pytest.
"""

from __future__ import annotations

from dataclasses import dataclass

import hpack
from hypothesis import strategies as st

from mirror.http.h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from tests.unit.http.h2_peer import GET, POST, frame, literals, update

# What the application does between two frames.
ANSWER, BEGIN, GIVE_UP = "answer", "begin", "give up"


@dataclass(frozen=True)
class Step:
    """Bytes of the client, or an action of the server on `stream_id`."""

    octets: bytes = b""
    action: str = ""
    stream_id: int = 0

    def __repr__(self) -> str:
        return f"{self.action} {self.stream_id}" if self.action else self.octets.hex(" ")


STREAMS = st.sampled_from((1, 1, 1, 3, 3, 5, 7, 9, 11, 2, 0))
OPENED = st.sampled_from((1, 3, 5, 7, 9))
LISTS = st.sampled_from(
    (
        GET,
        GET,
        POST,
        [*GET, (b"accept", b"*/*"), (b"cookie", b"a=b")],
        [*POST, (b"content-length", b"3")],
        [*POST, (b"content-length", b"0")],
        [*POST, (b"content-length", b"x")],
        [(b"x-checksum", b"1")],
        [(b":path", b"/late")],
        [*GET, (b"Upper", b"1")],
        [*GET, (b"connection", b"close")],
        [*GET, (b"te", b"trailers")],
        [*GET, (b"te", b"gzip")],
        [*GET, (b"a", b" b")],
        [*GET, (b"a", b"b\x00")],
        [*GET, (b"a", b"b\x01")],
        [*GET, (b"host", b"mirror.example")],
        [*GET, (b"host", b"other.example")],
        [*GET, (b":method", b"GET")],
        [*GET, (b":odd", b"1")],
        [*GET, (b"", b"1")],
        [*GET[:3], (b":path", b"")],
        [*GET[:3], (b":path", b"x")],
        GET[:3],
        GET[1:],
        [*GET[:2], GET[3]],
        [(b":method", b"CONNECT"), GET[2]],
        [],
    )
)
BLOCKS = st.one_of(
    LISTS.map(literals),
    LISTS.map(literals),
    LISTS.map(literals),
    LISTS.map(lambda lines: hpack.Encoder().encode(lines)),
    LISTS.map(lambda lines: b"\x20" + literals(lines)),
    st.binary(max_size=20),
    st.sampled_from((b"\xbe", b"\x20\x20\x20\x82", b"\x3f\xe1\x1f" + literals(GET))),
)
HEADERS_FLAGS = st.sampled_from((5, 5, 5, 5, 4, 4, 1, 0, 5 | PADDED, 5 | HAS_PRIORITY, 0x2D))
LEADS = st.sampled_from((b"", b"", b"\x00", b"\x01", b"\0\0\0\0\x10", b"\0\0\0\x01\x10"))


@st.composite
def _headers(draw: st.DrawFn) -> bytes:
    return frame(HEADERS, draw(STREAMS), draw(LEADS) + draw(BLOCKS), draw(HEADERS_FLAGS))


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    """What clients really send."""
    block = literals(draw(st.sampled_from((GET, POST))))
    return frame(HEADERS, draw(OPENED), block, END_HEADERS | draw(st.sampled_from((0, 1, 1))))


@st.composite
def _split_requests(draw: st.DrawFn) -> bytes:
    stream_id, block, cut = draw(OPENED), literals(draw(LISTS)), draw(st.integers(0, 30))
    first = frame(HEADERS, stream_id, block[:cut], draw(st.sampled_from((0, 1))))
    return first + frame(CONTINUATION, stream_id, block[cut:], END_HEADERS)


@st.composite
def _content(draw: st.DrawFn) -> bytes:
    flags = draw(st.sampled_from((0, 0, 1, 1, PADDED, PADDED | 1)))
    payload = draw(st.sampled_from((b"", b"abc", b"\x00ab", b"\x02ab\0\0", bytes(16_384))))
    return frame(DATA, draw(STREAMS), payload, flags)


@st.composite
def _control(draw: st.DrawFn) -> bytes:
    """Any other frame, right or wrong in its length, stream and flags."""
    type_, payloads = draw(
        st.sampled_from(
            (
                (PRIORITY, (bytes(5), b"\0\0\0\x01\x10", bytes(4))),
                (RST_STREAM, (b"\0\0\0\x08", bytes(3), bytes(5))),
                (SETTINGS, (b"", b"\0\x04\0\0\0\x07", b"\0\x04\xff\xff\xff\xff", bytes(5))),
                (SETTINGS, (b"\0\x02\0\0\0\x02", b"\0\x05\0\0\0\x00", b"\0\x77\0\0\0\x01")),
                (SETTINGS, (b"\0\x04\x7f\xff\xff\xff", b"\0\x01\0\0\0\x00")),
                (PUSH_PROMISE, (bytes(4), b"\0\0\0\x02" + literals(GET))),
                (PING, (bytes(8), bytes(7))),
                (GOAWAY, (bytes(8), bytes(7), bytes(11))),
                (WINDOW_UPDATE, (b"\0\0\0\x01", bytes(4), b"\x7f\xff\xff\xff", bytes(3))),
                (CONTINUATION, (b"", b"\x82")),
                (0xBE, (b"", b"abc")),
            )
        )
    )
    is_of_a_stream = type_ in (PRIORITY, RST_STREAM, WINDOW_UPDATE, CONTINUATION, 0xBE)
    usual = OPENED if is_of_a_stream else st.just(0)
    stream_id = draw(st.one_of(usual, usual, usual, STREAMS))
    return frame(
        type_, stream_id, draw(st.sampled_from(payloads)), draw(st.sampled_from((0, 4, ACK)))
    )


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    octets = bytearray(draw(st.one_of(_requests(), _content(), _control())))
    if len(octets) > 1000:
        return bytes(octets)
    for _ in range(draw(st.integers(1, 3))):
        # The length stays: bytes that one side waits for would never come.
        octets[draw(st.integers(3, len(octets) - 1))] = draw(st.integers(0, 255))
    return bytes(octets)


_STEPS = st.one_of(
    _requests().map(Step),
    _requests().map(Step),
    _headers().map(Step),
    _split_requests().map(Step),
    _content().map(Step),
    _control().map(Step),
    _mutated().map(Step),
    st.builds(update, STREAMS, st.sampled_from((1, 70_000, 2**31 - 1))).map(Step),
    st.builds(
        lambda action, stream_id: Step(action=action, stream_id=stream_id),
        st.sampled_from((ANSWER, ANSWER, BEGIN, GIVE_UP)),
        OPENED,
    ),
)
SEQUENCES = st.lists(_STEPS, min_size=1, max_size=12)
