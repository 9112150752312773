"""Floods: each ends the connection with ENHANCE_YOUR_CALM, and what honest clients do does not."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from mirror.http.h2_errors import Code, H2ConnectionError
from mirror.http.h2_events import ConnectionFailed
from mirror.http.h2_frames import ACK, DATA, PADDED, PING, PRIORITY
from mirror.http.h2_limits import Bucket, Limits, Rate
from mirror.http.h2_streams import REMEMBERED_STREAMS, StreamTable
from tests.unit.http.h2_peer import (
    GET,
    POST,
    SETTINGS_ACK,
    Peer,
    content,
    continuation,
    frame,
    headers,
    open_headers,
    rst,
    settings,
    update,
)

SMALL = Rate(burst=10, per_s=1)
LIMITS = Limits(
    wasted_streams=SMALL,
    controls=Rate(burst=11, per_s=1),  # the first SETTINGS are one
    grants=SMALL,
    empties=SMALL,
    block_bytes=Rate(burst=20_000, per_s=1000),
    max_unsent_bytes=1000,
)
OPEN = headers(1, POST, ends=False)


def ids(count: int) -> range:
    return range(3, 3 + 2 * count, 2)


FLOODS = {
    "rapid-reset": [headers(i) + rst(i) for i in ids(11)],
    "faults-of-the-client-as-resets": [headers(i) + update(i, 0) for i in ids(11)],
    "malformed-requests": [headers(i, GET[1:]) for i in ids(11)],
    "pings": [frame(PING, 0, bytes(8))] * 11,
    "answers-to-no-ping": [frame(PING, 0, bytes(8), ACK)] * 11,
    "settings": [settings()] * 11,
    "acknowledgements": [SETTINGS_ACK] * 11,
    "priorities": [frame(PRIORITY, 1, bytes(5))] * 11,
    "unknown-frames": [frame(0xBE, 0)] * 11,
    "goaways": [frame(7, 0, bytes(8))] * 11,
    "updates": [update(0, 1)] * 11,
    "updates-of-closed-streams": [OPEN, rst(1), *[update(1, 1)] * 11],
    "resets-of-a-closed-stream": [OPEN, *[rst(1)] * 12],
    "content-in-single-bytes": [OPEN, *[content(1, b"x")] * 11],
    "empty-content": [OPEN, *[content(1, b"")] * 11],
    "padding-only": [OPEN, *[frame(DATA, 1, b"\x00", PADDED)] * 11],
    "empty-continuations": [open_headers(1, b""), *[continuation(1, b"", is_last=False)] * 10],
    "continuations": [open_headers(1, b"x"), *[continuation(1, b"x", is_last=False)] * 17],
    "block-without-end": [
        open_headers(1, bytes(16_384)), *[continuation(1, bytes(16_384), is_last=False)] * 2,
    ],
    "large-blocks": [headers(i, [*GET, (b"a", b"x" * 3000)]) for i in ids(4)],
    "lists-that-are-too-large": [headers(i, [*GET, (b"a", b"x" * 16_300)]) for i in ids(1)],
    "fields-that-cost-nothing-to-send": [frame(1, i, b"\x82" * 95, 5) for i in ids(7)],
}  # fmt: skip


@pytest.mark.parametrize("name", FLOODS)
def test_flood_ends_the_connection(name: str) -> None:
    peer = Peer.connected(LIMITS)
    *before, last = FLOODS[name]
    peer.session.take_output()
    for one in before:
        assert not any(isinstance(e, ConnectionFailed) for e in peer.send(one)), one
        peer.session.take_output()
    failed = peer.send(last)[-1]
    assert isinstance(failed, ConnectionFailed)
    assert failed.code == Code.ENHANCE_YOUR_CALM
    assert peer.verdict() == "connection 11"


@pytest.mark.parametrize("name", [name for name in FLOODS if name != "block-without-end"])
def test_the_same_over_a_long_time_is_no_flood(name: str) -> None:
    limits = Limits(
        wasted_streams=SMALL,
        controls=SMALL,
        grants=SMALL,
        empties=SMALL,
        block_bytes=Rate(burst=40_000, per_s=40_000),
        max_continuations=20,
    )
    peer = Peer.connected(limits)
    for second, one in enumerate(FLOODS[name]):
        events = peer.send(one, now_s=2.0 * second)
        assert not any(isinstance(event, ConnectionFailed) for event in events)


def test_answers_that_nobody_reads_end_the_connection() -> None:
    peer = Peer.connected(Limits(max_unsent_bytes=170))
    peer.send(*[frame(PING, 0, bytes(8))] * 10)
    assert peer.session.failure is None
    peer.send(frame(PING, 0, bytes(8)))
    assert peer.verdict() == "connection 11"


def test_refused_streams_are_a_flood_too() -> None:
    peer = Peer.connected(Limits(max_streams=1, wasted_streams=SMALL))
    peer.send(*[headers(i) for i in ids(11)])
    assert peer.session.failure is None
    peer.send(headers(101))
    assert peer.verdict() == "connection 11"


def test_frames_for_a_stream_that_was_reset_are_a_flood_after_some() -> None:
    peer = Peer.connected(LIMITS)
    peer.send(OPEN)
    peer.session.reset(1, Code.NO_ERROR)
    peer.send(*[content(1, b"x")] * 9)
    assert peer.session.failure is None
    peer.send(content(1, b"x"), headers(1), content(1, b"x"))
    assert peer.verdict() == "connection 11"


def test_updates_that_answer_content_are_no_flood() -> None:
    """A client that reads 16 KiB grants them in pieces of 2 KiB."""
    peer = Peer.connected(Limits(grants=Rate(burst=16, per_s=0)))
    peer.send(headers(1))
    for _ in range(200):
        peer.session.data(1, bytes(16_384), ends=False)
        peer.send(*[update(0, 2048), update(1, 2048)] * 5, update(0, 6144), update(1, 6144))
    assert peer.session.failure is None


def test_updates_after_short_responses_are_no_flood() -> None:
    peer = Peer.connected(LIMITS)
    for stream_id in ids(300):
        peer.send(headers(stream_id))
        peer.session.headers(stream_id, b"\x88", ends=False)
        peer.session.data(stream_id, b"short", ends=True)
        peer.send(update(stream_id, 5), update(0, 5))
    assert peer.session.failure is None


def test_windows_opened_byte_by_byte_are_a_flood() -> None:
    peer = Peer.connected(LIMITS)
    peer.send(settings((4, 0)), headers(1))
    for _ in range(10):
        peer.send(update(1, 1))
        peer.session.data(1, b"x", ends=False)
    assert peer.session.failure is None
    peer.send(update(1, 1))
    assert peer.verdict() == "connection 11"


def test_requests_alone_are_never_a_flood() -> None:
    peer = Peer.connected(LIMITS)
    for stream_id in ids(2000):
        assert len(peer.send(headers(stream_id))) == 1
        peer.session.headers(stream_id, b"\x88", ends=True)
    assert peer.session.failure is None


def test_memory_for_closed_streams_is_bounded() -> None:
    peer = Peer.connected()
    for stream_id in ids(3000):
        peer.send(headers(stream_id))
        peer.session.reset(stream_id, Code.NO_ERROR)
        peer.session.take_output()
    assert peer.send(content(6001, b"x")) == []  # under way
    peer.send(content(3, b"x"))  # 3,000 streams ago
    assert peer.verdict() == "connection 5"


def test_what_is_remembered_of_closed_streams_is_small() -> None:
    """A connection may live long, and there are many."""
    streams = StreamTable()
    tracemalloc.start()
    try:
        for stream_id in range(1, 20_001, 2):
            streams.close(stream_id, is_reset_here=True)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 50_000
    assert streams.was_used(19_999 - 2 * (REMEMBERED_STREAMS - 1))
    assert not streams.was_used(19_999 - 2 * REMEMBERED_STREAMS)


def test_requests_that_were_handed_over_are_not_kept() -> None:
    """A read of small frames can decode to megabytes of fields: no idle connection keeps them."""
    peer = Peer.connected()
    large = [*GET, (b"a", b"x" * 3000)]
    tracemalloc.start()
    try:
        peer.send(*[headers(stream_id, large) for stream_id in ids(100)])
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 100_000  # the fields were 300,000


def test_bucket_fills_with_time_up_to_its_burst() -> None:
    bucket = Bucket(Rate(burst=2, per_s=0.5), "pings", 0.0)
    bucket.take(2, 0.0)
    with pytest.raises(H2ConnectionError, match="Too many pings"):
        bucket.take(1, 1.9)
    bucket.take(1, 2.0)
    bucket.take(2, 1000.0)
    with pytest.raises(H2ConnectionError):
        bucket.take(1, 1000.0)
    assert repr(bucket).startswith("<Bucket pings left=")


FRAMES_OF_COST = {
    "ping": (frame(PING, 0, bytes(8)), 1),
    "unknown": (frame(0xBE, 0), 1),
    "continuation": (open_headers(1, b"") + continuation(1, b"", is_last=False) * 16, 17),
    "rapid-reset": (b"".join(headers(i) + rst(i) for i in ids(500)), 1000),
    "block-of-16-kib": (b"".join(frame(1, i, b"\x82" * 16_384, 5) for i in ids(5)), 5),
    "block-of-tiny-fields": (
        b"".join(frame(1, i, b"\x00\x00\x00" * 5461, 5) for i in ids(5)), 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES_OF_COST)
def test_frames_cost_no_more_than_100_us_each(name: str) -> None:
    """As fast as they come; those after the limit meet a connection that is closed."""
    sent, frames = FRAMES_OF_COST[name]
    peer = Peer.connected()
    started_s = time.process_time()
    for _ in range(10_000 // frames):
        peer.send(sent)
    assert time.process_time() - started_s < 1.0


def test_many_small_frames_in_one_read_cost_as_much_as_in_many() -> None:
    """Twice the bytes take twice the time: nothing slices the rest again and again."""
    spent_s = []
    wide = Rate(burst=10**9, per_s=1)
    for count in (20_000, 80_000):
        peer = Peer.connected(Limits(controls=wide, max_unsent_bytes=10**9))
        received = frame(0xBE, 0) * count
        started_s = time.process_time()
        peer.send(received)
        spent_s.append(time.process_time() - started_s)
        assert peer.session.failure is None
    assert spent_s[1] < 12 * spent_s[0]  # 16 times for a quadratic reader
