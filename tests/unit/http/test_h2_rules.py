"""The rules of RFC 9113 as cases: frames of a client, and what the session makes of them."""

from __future__ import annotations

import pytest

from mirror.http.h2_events import (
    ConnectionFailed,
)
from mirror.http.h2_frames import (
    ACK,
    END_HEADERS,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from mirror.http.h2_limits import Limits
from mirror.http.h2_session import Session
from tests.unit.http.h2_peer import (
    CALM,
    CLOSED,
    COMPRESSION,
    DEPENDENT,
    FLOW,
    GARBAGE,
    GET,
    HALF_CLOSED,
    OPEN,
    POST,
    PROTOCOL,
    SETTINGS_ACK,
    SIZE,
    TRAILERS,
    Peer,
    content,
    continuation,
    frame,
    headers,
    literals,
    open_headers,
    rst,
    settings,
    update,
)


def with_length(size: int) -> list[tuple[bytes, bytes]]:
    return [*POST, (b"content-length", b"%d" % size)]


FRAMES = [
    # 3.4, 6.5: how a connection begins is below. 4.1, 5.5: unknown things are ignored.
    ("unknown-frame", [frame(0xBE, 0, b"x")], "ok"),
    ("unknown-frame-of-a-stream", [frame(0xBE, 7, b"x", 0xFF)], "ok"),
    ("unknown-flags", [frame(PING, 0, bytes(8), 0xFE)], "ok"),
    ("reserved-bit-of-the-stream", [frame(PING, 2**31, bytes(8))], "ok"),
    ("frame-too-long", [frame(PING, 0, bytes(16_385))], f"connection {SIZE}"),
    # 4.3, 6.2, 6.10: field blocks.
    ("request", [HALF_CLOSED], "ok"),
    ("headers-of-the-connection", [headers(0)], f"connection {PROTOCOL}"),
    ("headers-of-an-even-stream", [headers(2)], f"connection {PROTOCOL}"),
    ("lower-stream-than-before", [headers(5), headers(3)], f"connection {PROTOCOL}"),
    ("block-in-three", [
        open_headers(1, literals(GET)[:7]),
        continuation(1, literals(GET)[7:9], is_last=False),
        continuation(1, literals(GET)[9:], is_last=True),
    ], "ok"),
    ("continuation-without-headers", [continuation(1, b"", is_last=True)],
     f"connection {PROTOCOL}"),
    ("continuation-after-the-end", [HALF_CLOSED, continuation(1, b"", is_last=True)],
     f"connection {PROTOCOL}"),
    ("ping-within-a-block", [open_headers(1, b""), frame(PING, 0, bytes(8))],
     f"connection {PROTOCOL}"),
    ("unknown-frame-within-a-block", [open_headers(1, b""), frame(0xBE, 1)],
     f"connection {PROTOCOL}"),
    ("other-stream-within-a-block", [open_headers(1, b""), continuation(3, b"", is_last=True)],
     f"connection {PROTOCOL}"),
    ("headers-within-a-block", [open_headers(1, b""), headers(1)], f"connection {PROTOCOL}"),
    ("block-that-is-no-hpack", [frame(HEADERS, 1, GARBAGE, END_HEADERS)],
     f"connection {COMPRESSION}"),
    ("padded-headers", [frame(HEADERS, 1, b"\x02" + literals(GET) + b"\0\0",
                              END_HEADERS | PADDED | 1)], "ok"),
    ("padding-of-all-and-more", [frame(HEADERS, 1, b"\x05" + bytes(4), END_HEADERS | PADDED)],
     f"connection {PROTOCOL}"),
    ("padded-but-empty", [frame(HEADERS, 1, b"", END_HEADERS | PADDED)], f"connection {SIZE}"),
    ("headers-cut-in-the-priority", [frame(HEADERS, 1, bytes(4), END_HEADERS | HAS_PRIORITY)],
     f"connection {SIZE}"),
    ("headers-with-priority", [headers(3, flags=HAS_PRIORITY, lead=DEPENDENT)], "ok"),
    ("headers-that-depend-on-themselves", [headers(1, flags=HAS_PRIORITY, lead=DEPENDENT)],
     f"stream {PROTOCOL}"),
    ("empty-block", [headers(1, [])], f"stream {PROTOCOL}"),
    ("malformed-request", [headers(1, [*GET, (b"Upper", b"1")])], f"stream {PROTOCOL}"),
    # 5.1: states.
    ("data-on-an-idle-stream", [content(1, b"x")], f"connection {PROTOCOL}"),
    ("data-on-an-even-stream", [HALF_CLOSED, content(2, b"x")], f"connection {PROTOCOL}"),
    ("data-of-the-connection", [content(0, b"x")], f"connection {PROTOCOL}"),
    ("reset-of-an-idle-stream", [rst(1)], f"connection {PROTOCOL}"),
    ("update-of-an-idle-stream", [update(1, 1)], f"connection {PROTOCOL}"),
    ("data-after-the-end", [HALF_CLOSED, content(1, b"x")], f"stream {CLOSED}"),
    ("headers-after-the-end", [HALF_CLOSED, HALF_CLOSED], f"stream {CLOSED}"),
    ("update-after-the-end", [HALF_CLOSED, update(1, 1)], "ok"),
    ("priority-after-the-end", [HALF_CLOSED, frame(PRIORITY, 1, bytes(5))], "ok"),
    ("data-after-the-client-reset", [OPEN, rst(1), content(1, b"x")], f"connection {CLOSED}"),
    ("headers-after-the-client-reset", [OPEN, rst(1), HALF_CLOSED], f"connection {CLOSED}"),
    ("update-after-the-client-reset", [OPEN, rst(1), update(1, 1)], "ok"),
    ("reset-after-the-client-reset", [OPEN, rst(1), rst(1)], "ok"),
    ("data-on-a-stream-passed-over", [headers(5), content(3, b"x")], f"connection {CLOSED}"),
    # 6.1, 8.1: content and trailers.
    ("content", [OPEN, content(1, b"abc"), content(1, b"", ends=True)], "ok"),
    ("trailers", [OPEN, content(1, b"abc"), headers(1, TRAILERS)], "ok"),
    ("trailers-without-content", [OPEN, headers(1, TRAILERS)], "ok"),
    ("trailers-that-do-not-end", [OPEN, headers(1, TRAILERS, ends=False)], f"stream {PROTOCOL}"),
    ("trailers-with-a-pseudo-field", [OPEN, headers(1, [(b":path", b"/")])], f"stream {PROTOCOL}"),
    ("trailers-of-a-connection", [OPEN, headers(1, [(b"upgrade", b"x")])], f"stream {PROTOCOL}"),
    ("trailers-that-depend-on-themselves",
     [OPEN, headers(1, TRAILERS, flags=HAS_PRIORITY, lead=DEPENDENT)], f"stream {PROTOCOL}"),
    ("trailers-that-are-too-many", [OPEN, headers(1, [(b"a", b"")] * 101)], f"stream {CALM}"),
    ("as-long-as-its-length",
     [headers(1, with_length(3), ends=False), content(1, b"abc", ends=True)], "ok"),
    ("longer-than-its-length",
     [headers(1, with_length(2), ends=False), content(1, b"abc")], f"stream {PROTOCOL}"),
    ("shorter-than-its-length",
     [headers(1, with_length(4), ends=False), content(1, b"abc", ends=True)], f"stream {PROTOCOL}"),
    ("shorter-by-trailers",
     [headers(1, with_length(1), ends=False), headers(1, TRAILERS)], f"stream {PROTOCOL}"),
    ("without-the-content-promised", [headers(1, with_length(1))], f"stream {PROTOCOL}"),
    ("with-no-content-promised", [headers(1, with_length(0))], "ok"),
    ("padding-is-no-content",
     [headers(1, with_length(1), ends=False), frame(0, 1, b"\x03a\0\0\0", PADDED | 1)], "ok"),
    ("padding-longer-than-data", [OPEN, frame(0, 1, b"\x04a\0\0", PADDED)],
     f"connection {PROTOCOL}"),
    # 6.3
    ("priority", [frame(PRIORITY, 1, bytes(5))], "ok"),
    ("priority-of-the-connection", [frame(PRIORITY, 0, bytes(5))], f"connection {PROTOCOL}"),
    ("priority-of-a-wrong-length", [OPEN, frame(PRIORITY, 1, bytes(4))], f"stream {SIZE}"),
    ("priority-of-a-wrong-length-idle", [frame(PRIORITY, 1, bytes(4))], f"connection {SIZE}"),
    ("priority-on-itself", [OPEN, frame(PRIORITY, 1, DEPENDENT)], f"stream {PROTOCOL}"),
    ("priority-on-itself-idle", [frame(PRIORITY, 1, DEPENDENT)], f"connection {PROTOCOL}"),
    # 6.4
    ("reset", [OPEN, rst(1)], "ok"),
    ("reset-of-the-connection", [rst(0)], f"connection {PROTOCOL}"),
    ("reset-of-a-wrong-length", [OPEN, frame(RST_STREAM, 1, bytes(3))], f"connection {SIZE}"),
    # 6.5
    ("settings", [settings((1, 0), (2, 0), (3, 0), (4, 0), (5, 16_384), (6, 0), (99, 7))], "ok"),
    ("settings-of-a-stream", [frame(SETTINGS, 1)], f"connection {PROTOCOL}"),
    ("settings-of-a-wrong-length", [frame(SETTINGS, 0, bytes(5))], f"connection {SIZE}"),
    ("ack-with-a-payload", [frame(SETTINGS, 0, bytes(6), ACK)], f"connection {SIZE}"),
    ("ack-that-nobody-waits-for", [SETTINGS_ACK, SETTINGS_ACK], "ok"),
    ("push-neither-on-nor-off", [settings((2, 2))], f"connection {PROTOCOL}"),
    ("window-too-large", [settings((4, 2**31))], f"connection {FLOW}"),
    ("largest-window", [settings((4, 2**31 - 1))], "ok"),
    ("frame-size-too-small", [settings((5, 16_383))], f"connection {PROTOCOL}"),
    ("frame-size-too-large", [settings((5, 2**24))], f"connection {PROTOCOL}"),
    ("largest-frame-size", [settings((5, 2**24 - 1))], "ok"),
    ("wrong-value-that-is-replaced", [settings((5, 1), (5, 16_384))], f"connection {PROTOCOL}"),
    ("settings-of-33-lines", [settings(*[(99, 0)] * 33)], f"connection {CALM}"),
    ("window-that-settings-overflow",
     [HALF_CLOSED, update(1, 2**31 - 1 - 65_535), settings((4, 65_536))], f"connection {FLOW}"),
    # 6.6, 8.4
    ("push", [HALF_CLOSED, frame(PUSH_PROMISE, 1, bytes(4), END_HEADERS)],
     f"connection {PROTOCOL}"),
    # 6.7
    ("ping", [frame(PING, 0, b"12345678")], "ok"),
    ("answer-to-no-ping", [frame(PING, 0, b"12345678", ACK)], "ok"),
    ("ping-of-a-stream", [frame(PING, 1, bytes(8))], f"connection {PROTOCOL}"),
    ("ping-of-a-wrong-length", [frame(PING, 0, bytes(7))], f"connection {SIZE}"),
    # 6.8
    ("goaway", [frame(GOAWAY, 0, bytes(8) + b"bye")], "ok"),
    ("goaway-of-a-stream", [frame(GOAWAY, 1, bytes(8))], f"connection {PROTOCOL}"),
    ("goaway-of-a-wrong-length", [frame(GOAWAY, 0, bytes(7))], f"connection {SIZE}"),
    # 6.9
    ("update-of-the-connection", [update(0, 1)], "ok"),
    ("update-of-a-wrong-length", [frame(WINDOW_UPDATE, 0, bytes(3))], f"connection {SIZE}"),
    ("update-by-nothing", [update(0, 0)], f"connection {PROTOCOL}"),
    ("update-of-a-stream-by-nothing", [OPEN, update(1, 0)], f"stream {PROTOCOL}"),
    ("reserved-bit-of-an-increment", [OPEN, update(1, 2**31)], f"stream {PROTOCOL}"),
    ("window-that-overflows", [update(0, 2**31 - 65_535)], f"connection {FLOW}"),
    ("window-that-is-full", [update(0, 2**31 - 1 - 65_535)], "ok"),
    ("stream-window-that-overflows", [OPEN, update(1, 2**31 - 65_535)], f"stream {FLOW}"),
    ("update-by-nothing-after-the-client-reset", [OPEN, rst(1), update(1, 0)],
     f"connection {PROTOCOL}"),
    ("more-than-the-stream-admits", [
        headers(1, POST, ends=False), *[content(1, bytes(16_384))] * 3, content(1, bytes(16_384)),
    ], f"stream {FLOW}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "verdict"), [pytest.param(case[1], case[2], id=case[0]) for case in FRAMES]
)
def test_frames_end_in_the_verdict_of_the_rule(frames: list[bytes], verdict: str) -> None:
    peer = Peer.connected()
    events = peer.send(*frames)
    failed = [event for event in events if isinstance(event, ConnectionFailed)]
    assert (len(failed) == 1) == verdict.startswith("connection")
    assert (peer.session.failure is not None) == bool(failed)
    assert peer.verdict() == verdict


@pytest.mark.parametrize(
    ("frames", "verdict"),
    [
        pytest.param(frames, verdict, id=name)
        for name, frames, verdict in FRAMES
        if sum(map(len, frames)) < 1000  # the reader has a test of its own for long frames
    ],
)
def test_bytes_that_come_one_by_one_end_in_the_same_verdict(
    frames: list[bytes], verdict: str
) -> None:
    peer = Peer.connected()
    for octet in b"".join(frames):
        peer.session.receive(bytes((octet,)), 0.0)
    assert peer.verdict() == verdict


@pytest.mark.parametrize(
    "hello",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http-1"),
        pytest.param(PREFACE[:-1] + b"x", id="last-byte-differs"),
        pytest.param(PREFACE + SETTINGS_ACK, id="ack-first"),
        pytest.param(PREFACE + frame(PING, 0, bytes(8)), id="ping-first"),
        pytest.param(PREFACE + frame(0xBE, 0), id="unknown-frame-first"),
        pytest.param(PREFACE + HALF_CLOSED, id="request-first"),
    ],
)
def test_connection_that_begins_wrongly_fails(hello: bytes) -> None:
    peer = Peer(Session(Limits(), now_s=0.0))
    assert isinstance(peer.send(hello)[-1], ConnectionFailed)
    assert peer.verdict() == f"connection {PROTOCOL}"
