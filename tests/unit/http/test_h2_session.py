"""One HTTP/2 session: what it tells, what it owes its client, what it sends, and how it ends."""

from __future__ import annotations

import pytest

from mirror.http.h2_errors import Code
from mirror.http.h2_events import (
    ConnectionFailed,
    ContentReceived,
    PeerGoingAway,
    PeerReady,
    PingAnswered,
    RequestEnded,
    RequestReceived,
    RequestRefused,
    StreamReset,
)
from mirror.http.h2_frames import (
    ACK,
    ALL_STREAMS,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
)
from mirror.http.h2_limits import Limits
from mirror.http.h2_receiver import Receiver
from mirror.http.h2_session import Session
from mirror.http.h2_state import SharedState
from mirror.http.h2_streams import StreamState
from mirror.http.h2_windows import ReceiveWindow, SendWindow
from tests.unit.http.h2_peer import (
    CLOSED,
    COMPRESSION,
    GET,
    HALF_CLOSED,
    HELLO,
    OPEN,
    POST,
    REDUCTION,
    SETTINGS_ACK,
    TRAILERS,
    Peer,
    content,
    frame,
    headers,
    literals,
    parse,
    rst,
    settings,
    update,
)


def test_settings_are_the_first_bytes_and_reduce_the_table() -> None:
    limits = Limits(max_streams=5, initial_window_bytes=1000, max_list_bytes=2000)
    first = parse(Session(limits, now_s=0.0).take_output())[0]
    assert repr(first.settings) == repr({1: 0, 3: 5, 4: 1000, 5: 16_384, 6: 2000})  # type: ignore[attr-defined]  # hyperframe's base class


def test_nothing_is_read_after_a_failure() -> None:
    peer = Peer.connected()
    peer.send(update(0, 0), HALF_CLOSED)
    assert peer.goaway() is not None
    assert peer.send(headers(3)) == []
    assert peer.session.take_output() == b""
    assert peer.session.is_over
    assert peer.session.open_streams == 0


def test_what_came_before_the_fault_is_told() -> None:
    events = Peer.connected().send(HALF_CLOSED, update(0, 0), headers(3))
    assert [type(event) for event in events] == [RequestReceived, ConnectionFailed]


def test_failure_names_the_last_stream() -> None:
    peer = Peer.connected()
    peer.send(headers(1), headers(7), update(0, 0))
    goaway = peer.goaway()
    assert goaway is not None
    assert goaway.last_stream_id == 7
    assert goaway.additional_data == b"A window is not opened by 0."


# Requests.


def test_request_becomes_fields() -> None:
    lines = [
        *GET,
        (b"accept", b"*/*"),
        (b"accept", b"text/html"),
        (b"cookie", b"a"),
        (b"cookie", b"b"),
    ]
    (event,) = Peer.connected().send(headers(1, lines))
    assert isinstance(event, RequestReceived)
    assert (event.stream_id, event.ends) == (1, True)
    request = event.fields
    assert (request.method, request.scheme, request.path) == (b"GET", b"http", b"/config.json")
    assert request.authority == b"mirror.example"
    assert request.fields == {b"accept": b"*/*, text/html", b"cookie": b"a; b"}


def test_content_is_reported_and_the_end_too() -> None:
    events = Peer.connected().send(OPEN, content(1, b"abc"), content(1, b"", ends=True))
    assert events[1:] == [
        ContentReceived(stream_id=1, size_bytes=3),
        RequestEnded(stream_id=1),
    ]


def test_trailers_end_the_request() -> None:
    events = Peer.connected().send(OPEN, headers(1, TRAILERS))
    assert events[1:] == [RequestEnded(stream_id=1)]


def test_malformed_request_is_reset_without_an_event() -> None:
    peer = Peer.connected()
    assert peer.send(headers(1, [*GET, (b"connection", b"close")]), headers(3)) != []
    assert peer.resets() == [(1, Code.PROTOCOL_ERROR)]
    assert peer.session.open_streams == 1


def test_fault_of_a_known_stream_is_reported() -> None:
    events = Peer.connected().send(HALF_CLOSED, content(1, b"x"))
    assert events[1:] == [StreamReset(stream_id=1, code=Code.STREAM_CLOSED)]


def test_reset_of_the_client_is_reported_with_its_code() -> None:
    events = Peer.connected().send(HALF_CLOSED, rst(1, 0xBEEF))
    assert events[1:] == [StreamReset(stream_id=1, code=0xBEEF)]


def test_request_with_too_many_fields_is_to_be_answered_431() -> None:
    peer = Peer.connected()
    events = peer.send(headers(1, [*GET, *[(b"a", b"b")] * 97]), headers(3))
    assert events[0] == RequestRefused(stream_id=1, status=431, ends=True)
    assert isinstance(events[1], RequestReceived)
    assert peer.resets() == []
    assert parse(peer.session.headers(1, b"\x08\x03431", ends=True))[0].stream_id == 1


def test_settings_acknowledged_is_reported_once() -> None:
    session = Session(Limits(), now_s=0.0)
    assert session.receive(HELLO, 0.0) == [PeerReady()]
    assert session.receive(SETTINGS_ACK, 0.0) == []


def test_ping_is_answered_with_its_bytes() -> None:
    peer = Peer.connected()
    peer.send(frame(PING, 0, b"\x012345678"[:8]))
    assert peer.session.take_output() == frame(PING, 0, b"\x012345678"[:8], ACK)


def test_answer_to_a_ping_is_reported_once() -> None:
    peer = Peer.connected()
    peer.session.ping()
    sent = peer.session.take_output()
    answer = frame(PING, 0, sent[9:], ACK)
    assert peer.send(frame(PING, 0, b"forged..", ACK)) == []
    assert peer.send(answer, answer) == [PingAnswered()]


def test_settings_are_acknowledged() -> None:
    peer = Peer.connected()
    peer.send(settings((3, 1)))
    assert peer.session.take_output() == SETTINGS_ACK


# The table of the client's encoder.


def test_client_that_acknowledged_owes_a_reduction() -> None:
    peer = Peer.connected(acknowledges=True)
    assert [type(e) for e in peer.send(headers(1, lead=REDUCTION), headers(3))] == [
        RequestReceived,
        RequestReceived,
    ]
    late = Peer.connected(acknowledges=True)
    late.send(headers(1))
    assert late.verdict() == f"connection {COMPRESSION}"


def test_client_that_acknowledged_must_not_refer_to_the_table() -> None:
    indexed = b"\x40\x01a\x01b"  # kept in the table
    before = Peer.connected()
    assert before.send(headers(1, lead=b""), frame(HEADERS, 3, literals(GET) + indexed, 5)) != []
    assert before.send(frame(HEADERS, 5, literals(GET) + b"\xbe", 5)) != []
    assert before.verdict() == "ok"
    after = Peer.connected(acknowledges=True)
    after.send(frame(HEADERS, 1, REDUCTION + literals(GET) + indexed + b"\xbe", 5))
    assert after.verdict() == f"connection {COMPRESSION}"


# Concurrency, closed streams, flow control of what is received.


def test_streams_beyond_the_limit_are_refused_and_the_table_stays_in_step() -> None:
    peer = Peer.connected(Limits(max_streams=1))
    peer.send(headers(1))
    events = peer.send(frame(HEADERS, 3, b"\x40\x01a\x01b" + literals(GET), 5))
    assert events == []
    assert peer.resets() == [(3, Code.REFUSED_STREAM)]
    peer.session.headers(1, b"\x88", ends=True)
    (event,) = peer.send(frame(HEADERS, 5, literals(GET) + b"\xbe", 5))
    assert isinstance(event, RequestReceived)
    assert event.fields.fields == {b"a": b"b"}


def test_frames_under_way_when_a_stream_was_reset_are_dropped() -> None:
    peer = Peer.connected()
    peer.send(OPEN)
    peer.session.reset(1, Code.NO_ERROR)
    assert peer.resets() == [(1, Code.NO_ERROR)]
    assert peer.send(content(1, b"abc"), headers(1, TRAILERS), rst(1), update(1, 0)) == []
    assert peer.session.take_output() == b""


def test_closed_by_both_ends_is_closed() -> None:
    peer = Peer.connected()
    peer.send(HALF_CLOSED)
    peer.session.headers(1, b"\x88", ends=True)
    assert peer.session.open_streams == 0
    assert peer.send(update(1, 5), rst(1), frame(PRIORITY, 1, bytes(5))) == []
    assert peer.verdict() == "ok"
    peer.send(content(1, b"x"))
    assert peer.verdict() == f"connection {CLOSED}"


def test_request_that_ends_after_its_response_closes_silently() -> None:
    peer = Peer.connected()
    peer.send(OPEN)
    peer.session.headers(1, b"\x88", ends=True)
    assert peer.session.open_streams == 1
    assert peer.send(content(1, b"", ends=True)) == []
    assert peer.session.open_streams == 0


def test_connection_window_is_opened_again_also_by_dropped_content() -> None:
    peer = Peer.connected(Limits(initial_window_bytes=65_535))
    peer.send(OPEN)
    peer.session.reset(1, Code.NO_ERROR)
    peer.session.take_output()
    for _ in range(20):
        peer.send(content(1, bytes(16_000)))
    increments = [f.window_increment for f in parse(peer.session.take_output())]  # type: ignore[attr-defined]  # hyperframe's base class
    assert sum(increments) >= 20 * 16_000 - 32_768


def test_window_of_content_shrinks_with_the_acknowledgement() -> None:
    peer = Peer.connected(Limits(initial_window_bytes=10))
    assert len(peer.send(OPEN, content(1, bytes(20)), SETTINGS_ACK)) == 3
    assert peer.send(content(1, b"")) == []
    assert peer.send(content(1, b"x")) == [StreamReset(stream_id=1, code=Code.FLOW_CONTROL_ERROR)]
    peer.send(headers(3, POST, ends=False, lead=REDUCTION), content(3, bytes(10)), content(3, b"x"))
    assert peer.resets() == [(1, Code.FLOW_CONTROL_ERROR), (3, Code.FLOW_CONTROL_ERROR)]


# The end of a connection.


def test_drain_in_two_steps_refuses_only_after_the_second() -> None:
    peer = Peer.connected()
    peer.send(headers(1))
    peer.session.go_away(ALL_STREAMS)
    first = peer.goaway()
    assert first is not None
    assert (first.last_stream_id, first.error_code) == (ALL_STREAMS, 0)
    assert len(peer.send(headers(3))) == 1
    peer.session.go_away()
    second = peer.goaway()
    assert second is not None
    assert second.last_stream_id == 3
    assert peer.send(headers(5)) == []
    assert peer.resets() == [(5, Code.REFUSED_STREAM)]
    assert not peer.session.is_over
    peer.session.headers(1, b"\x88", ends=True)
    peer.session.headers(3, b"\x88", ends=True)
    assert peer.session.is_over


def test_last_stream_of_a_drain_never_grows() -> None:
    peer = Peer.connected()
    peer.send(headers(1))
    peer.session.go_away()
    peer.session.go_away(ALL_STREAMS)
    goaway = peer.goaway()
    assert goaway is not None
    assert goaway.last_stream_id == 1


def test_failure_after_a_drain_does_not_name_streams_that_were_refused() -> None:
    """Section 6.8: what a GOAWAY names never grows; the client repeats what lies above it."""
    peer = Peer.connected()
    peer.send(headers(1))
    peer.session.go_away()
    peer.send(headers(3), frame(PING, 1, bytes(8)))
    goaway = peer.goaway()
    assert goaway is not None
    assert (goaway.last_stream_id, goaway.error_code) == (1, Code.PROTOCOL_ERROR)


def test_client_that_goes_away_is_still_answered() -> None:
    peer = Peer.connected()
    assert peer.send(headers(1), frame(GOAWAY, 0, bytes(7) + b"\x02"))[1] == PeerGoingAway(code=2)
    assert not peer.session.is_over
    assert peer.session.headers(1, b"\x88", ends=True) != b""
    assert peer.session.is_over


# Upgrade.


def test_upgraded_request_is_stream_1_and_has_ended() -> None:
    session = Session(Limits(), now_s=0.0)
    session.upgrade(b"\x00\x04\x00\x00\x00\x07")
    assert session.allowance(1) == 7
    assert session.headers(1, b"\x88", ends=False)[9:] == b"\x20\x88"
    events = session.receive(HELLO + headers(3, lead=REDUCTION), 0.0)
    assert [type(event) for event in events] == [PeerReady, RequestReceived]
    assert session.allowance(1) == 7  # the client's SETTINGS do not repeat the window
    session.data(1, b"abc", ends=True)
    assert session.open_streams == 1


def test_upgrade_with_wrong_settings_fails() -> None:
    session = Session(Limits(), now_s=0.0)
    session.upgrade(b"\x00\x04\xff\xff\xff\xff")
    assert session.failure is not None
    assert session.failure.code == Code.FLOW_CONTROL_ERROR


def test_content_on_the_upgraded_stream_is_a_fault() -> None:
    session = Session(Limits(), now_s=0.0)
    session.upgrade(b"")
    events = session.receive(HELLO + content(1, b"x"), 0.0)
    assert events[-1] == StreamReset(stream_id=1, code=Code.STREAM_CLOSED)


def test_states_are_told_by_repr() -> None:
    peer = Peer.connected()
    peer.send(HALF_CLOSED)
    assert "open=1 last=1" in repr(peer.session)
    peer.send(update(0, 0))
    assert repr(peer.session).startswith("<Session failed")


def test_calls_after_a_failure_do_nothing() -> None:
    peer = Peer.connected()
    peer.send(HALF_CLOSED, update(0, 0))
    peer.session.take_output()
    peer.session.go_away()
    peer.session.ping()
    peer.session.reset(1, Code.CANCEL)
    assert peer.session.take_output() == b""
    assert peer.session.last_stream_id == 1


@pytest.mark.parametrize(
    ("subject", "state"),
    [
        pytest.param(SendWindow(5), "<SendWindow 5>", id="send-window"),
        pytest.param(ReceiveWindow(), "<ReceiveWindow 65535>", id="receive-window"),
        pytest.param(
            StreamState(3, send_bytes=0, receive_bytes=0), "<StreamState 3 open>", id="stream"
        ),
        pytest.param(
            Receiver(SharedState(Limits(), 0.0)),
            "<Receiver <BlockAssembly stream=0 bytes=0> <BlockDecoder table=4096>>",
            id="receiver",
        ),
    ],
)
def test_parts_tell_their_state(subject: object, state: str) -> None:
    assert repr(subject) == state


# Turns.


def test_requests_beyond_a_turn_wait_and_keep_their_frames_together() -> None:
    peer = Peer.connected()
    frames = [part for number in (1, 3, 5) for part in (headers(number), rst(number))]
    first = peer.session.receive(b"".join(frames), 0.0, most_requests=2)
    assert [event.stream_id for event in first if isinstance(event, StreamReset)] == [1, 3]
    assert "unread" in repr(peer.session)
    more = peer.session.receive(headers(7), 0.0, most_requests=2)
    assert [event.stream_id for event in more if isinstance(event, RequestReceived)] == [5, 7]
    assert "unread" not in repr(peer.session)
    assert peer.session.read_on(0.0) == []
