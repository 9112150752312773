"""A session that recalls requests: their streams obey the rules of all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.h2_errors import Code
from mirror.http.h2_events import RequestReceived, StreamReset
from mirror.http.h2_frames import END_HEADERS, END_STREAM, HEADERS, PADDED, PREFACE
from mirror.http.h2_limits import Limits
from mirror.http.h2_memo import BlockMemo
from mirror.http.h2_session import RECALLED_PER_REQUEST, Session
from tests.unit.http.h2_peer import (
    GET,
    REDUCTION,
    SETTINGS_ACK,
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

WHOLE = END_HEADERS | END_STREAM


@dataclass
class Knowing(Peer):
    """A client all of whose requests for GET's path are known; stream 1 taught it."""

    @classmethod
    def knowing(cls, limits: Limits | None = None) -> Knowing:
        memo = BlockMemo()
        session = Session(limits or Limits(), now_s=0.0, memo=memo)
        peer = cls(session)
        events = peer.send(PREFACE, settings(), SETTINGS_ACK, headers(1, lead=REDUCTION))
        [received] = [event for event in events if isinstance(event, RequestReceived)]
        assert received.block is not None
        memo.learn(received.block, name="config", table="index", has_tag=False)
        session.headers(1, b"\x88", ends=True)
        session.take_output()
        return peer

    @property
    def waiting(self) -> list[int]:
        return list(self.session.recalled)


def test_known_request_is_no_event() -> None:
    peer = Knowing.knowing()
    assert peer.send(headers(3), headers(5)) == []
    assert peer.waiting == [3, 5]
    assert peer.session.last_stream_id == 5
    peer.session.answered([3, 5], 200)
    assert (peer.waiting, peer.session.open_streams, peer.verdict()) == ([], 0, "ok")
    assert peer.session.fresh_allowances == (65_535 - 200, 65_535)


def test_what_is_not_answered_is_read_and_is_like_any_other() -> None:
    peer = Knowing.knowing()
    peer.send(headers(3), headers(5))
    peer.session.answered([3], 0)
    [event] = peer.session.read_recalled(128)
    assert isinstance(event, RequestReceived)
    assert (event.stream_id, event.ends, event.fields.path) == (5, True, b"/config.json")
    assert peer.session.headers(5, b"\x88", ends=True)
    assert peer.session.open_streams == 0


@pytest.mark.parametrize(
    ("frames", "verdict"),
    [
        pytest.param(rst(3), "ok", id="reset"),
        pytest.param(update(3, 1), "ok", id="window-update"),
        pytest.param(headers(3), f"connection {Code.STREAM_CLOSED}", id="headers-again"),
        pytest.param(content(3, b"x"), f"connection {Code.STREAM_CLOSED}", id="content"),
    ],
)
def test_stream_that_was_answered_is_closed(frames: bytes, verdict: str) -> None:
    peer = Knowing.knowing()
    peer.send(headers(3))
    peer.session.answered([3], 0)
    peer.send(frames)
    assert peer.verdict() == verdict


@pytest.mark.parametrize(
    ("frames", "verdict"),
    [
        pytest.param(headers(3), f"stream {Code.STREAM_CLOSED}", id="headers-again"),
        pytest.param(content(3, b"x"), f"stream {Code.STREAM_CLOSED}", id="content"),
        pytest.param(update(3, 0), f"stream {Code.PROTOCOL_ERROR}", id="update-by-0"),
        pytest.param(headers(1), f"connection {Code.STREAM_CLOSED}", id="lower-stream"),
        pytest.param(headers(4), f"connection {Code.PROTOCOL_ERROR}", id="even-stream"),
        pytest.param(
            open_headers(5, b"") + headers(7), f"connection {Code.PROTOCOL_ERROR}", id="open-block"
        ),
    ],
)
def test_frames_behind_a_request_that_waits_are_judged_as_ever(frames: bytes, verdict: str) -> None:
    peer = Knowing.knowing()
    peer.send(headers(3), frames)
    assert peer.verdict() == verdict


def test_request_that_is_reset_by_the_same_bytes_counts_as_wasted() -> None:
    peer = Knowing.knowing()
    events = peer.send(headers(3), rst(3), headers(5))
    assert [type(event) for event in events] == [RequestReceived, StreamReset]
    assert peer.waiting == [5]


def test_rapid_reset_of_known_requests_ends_the_connection() -> None:
    peer = Knowing.knowing()
    for stream_id in range(3, 2_100, 2):
        peer.send(headers(stream_id), rst(stream_id))
        if peer.session.failure is not None:
            break
    assert peer.verdict() == f"connection {Code.ENHANCE_YOUR_CALM}"
    assert peer.waiting == []


def test_streams_that_wait_count_for_the_limit() -> None:
    peer = Knowing.knowing(Limits(max_streams=3))
    peer.send(headers(3), headers(5), headers(7), headers(9))
    assert peer.resets() == [(9, Code.REFUSED_STREAM)]
    assert peer.waiting == [3, 5, 7]  # one too many does not have the others read
    peer.session.read_recalled(128)
    assert peer.session.open_streams == 3


def test_as_many_are_read_after_all_as_are_asked_for() -> None:
    peer = Knowing.knowing()
    peer.send(headers(3), headers(5), headers(7))
    events = peer.session.read_recalled(2)
    assert [event.stream_id for event in events if isinstance(event, RequestReceived)] == [3, 5]
    assert peer.waiting == [7]


@pytest.mark.parametrize("makes_open", [update, lambda stream_id, _: frame(2, stream_id, bytes(5))])
def test_known_requests_that_other_frames_open_count_in_full(
    makes_open: Callable[[int, int], bytes],
) -> None:
    peer = Knowing.knowing()
    ids = range(3, 3 + 2 * 8, 2)
    octets = b"".join(headers(each) for each in ids) + b"".join(makes_open(each, 1) for each in ids)
    events = peer.session.receive(octets, 0.0, most_requests=2)
    assert (len(events), len(peer.waiting), peer.session.has_unread) == (0, 8, True)
    for _ in range(3):
        events = peer.session.read_on(0.0, most_requests=2)
        assert 0 < len(events) <= 3
    assert (peer.waiting, peer.session.has_unread) == ([], False)


def test_stream_above_the_last_of_a_drain_is_refused() -> None:
    peer = Knowing.knowing()
    peer.session.go_away()
    peer.session.take_output()
    peer.send(headers(3))
    assert (peer.waiting, peer.resets()) == ([], [(3, Code.REFUSED_STREAM)])


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(headers(3, ends=False), id="not-ended"),
        pytest.param(
            frame(HEADERS, 3, b"\x02" + literals(GET) + b"\0\0", WHOLE | PADDED), id="padded"
        ),
        pytest.param(
            open_headers(3, literals(GET)[:20]) + continuation(3, literals(GET)[20:], is_last=True),
            id="continued",
        ),
        pytest.param(headers(3, lead=REDUCTION), id="size-update"),
    ],
)
def test_unusual_frames_of_the_same_request_are_read(frames: bytes) -> None:
    peer = Knowing.knowing()
    [event] = peer.send(frames)
    assert isinstance(event, RequestReceived)
    assert (event.stream_id, peer.waiting, peer.verdict()) == (3, [], "ok")


def test_next_head_after_settings_is_not_like_the_others() -> None:
    """It owes the reduction of the table, which nghttp2 asks for."""
    peer = Knowing.knowing()
    peer.send(settings((4, 100_000)), headers(3))
    assert max(peer.session.fresh_allowances) < 0
    peer.session.read_recalled(128)
    assert REDUCTION in peer.session.headers(3, b"\x88", ends=True)
    assert peer.session.fresh_allowances == (65_535, 100_000)


def test_known_requests_are_a_part_of_a_turn() -> None:
    peer = Knowing.knowing()
    octets = b"".join(headers(stream_id) for stream_id in range(3, 43, 2))
    peer.session.receive(octets, 0.0, most_requests=2)
    assert len(peer.waiting) == 2 * RECALLED_PER_REQUEST
    assert peer.session.has_unread
    peer.session.read_on(0.0, most_requests=100)
    assert (len(peer.waiting), peer.session.has_unread) == (20, False)


@given(st.lists(st.integers(1, 30), max_size=30))
def test_bytes_in_any_pieces_are_recalled_alike(sizes: list[int]) -> None:
    peer = Knowing.knowing()
    octets = b"".join(headers(stream_id) for stream_id in (3, 5, 9))
    at = 0
    for size in [*sizes, len(octets)]:
        assert peer.send(octets[at : at + size]) == []
        at += size
    assert peer.waiting == [3, 5, 9]


def test_session_without_a_memo_recalls_nothing() -> None:
    peer = Peer.connected(acknowledges=True)
    peer.send(headers(1, lead=REDUCTION))
    for stream_id in (3, 5):
        [event] = peer.send(headers(stream_id))
        assert isinstance(event, RequestReceived)
