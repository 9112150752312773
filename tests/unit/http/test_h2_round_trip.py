"""A client of the `h2` library and the session talk to each other, also through small windows."""

from __future__ import annotations

import base64

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror.http.h2_blocks import encode_head
from mirror.http.h2_errors import Code
from mirror.http.h2_events import (
    ContentReceived,
    Event,
    PeerReady,
    RequestEnded,
    RequestReceived,
    RequestRefused,
    StreamReset,
)
from mirror.http.h2_frames import ALL_STREAMS
from mirror.http.h2_limits import Limits
from mirror.http.h2_session import Session

HEAD = b'Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: "a"\r\nVia: 1.1 rust-mirror\r\n'


class Line:
    """Both ends; every exchange of bytes goes in pieces of `piece_bytes`."""

    def __init__(
        self, *, piece_bytes: int = 10**9, window_bytes: int = 65_535, limits: Limits | None = None
    ) -> None:
        self.piece_bytes = piece_bytes
        self.session = Session(limits or Limits(), now_s=0.0)
        self.client = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None)
        )
        self.client.initiate_connection()
        self.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window_bytes})
        self.seen: list[h2.events.Event] = []
        self.told: list[Event] = []

    def exchange(self) -> None:
        """Bytes in both directions until neither has any."""
        while True:
            up, down = self.client.data_to_send(), self.session.take_output()
            if not up and not down:
                return
            for at in range(0, len(up), self.piece_bytes):
                self.told += self.session.receive(up[at : at + self.piece_bytes], 0.0)
            self.deliver(down)

    def deliver(self, sent: bytes) -> None:
        for at in range(0, len(sent), self.piece_bytes):
            self.seen += self.client.receive_data(sent[at : at + self.piece_bytes])

    def ask(self, path: bytes, *, ends: bool = True, method: bytes = b"GET") -> int:
        stream_id: int = self.client.get_next_available_stream_id()
        lines = [
            (b":method", method),
            (b":scheme", b"https"),
            (b":authority", b"mirror.example"),
            (b":path", path),
            (b"user-agent", b"cargo/1.95.0"),
        ]
        self.client.send_headers(stream_id, lines, end_stream=ends)
        return stream_id

    def of(self, kind: type[h2.events.Event]) -> list[h2.events.Event]:
        return [event for event in self.seen if isinstance(event, kind)]

    def content(self, stream_id: int) -> bytes:
        """What came so far; the client then opens its windows again."""
        parts = [
            event
            for event in self.seen
            if isinstance(event, h2.events.DataReceived) and event.stream_id == stream_id
        ]
        return b"".join(bytes(event.data) for event in parts)


def send_all(line: Line, contents: dict[int, bytes]) -> None:
    """Send what the windows admit, a turn for each stream, until everything is sent."""
    at = dict.fromkeys(contents, 0)
    while at:
        sent_bytes = 0
        for stream_id in list(at):
            left = contents[stream_id][at[stream_id] :]
            part = left[: min(20_000, line.session.allowance(stream_id))]
            if not part and left:
                continue
            ends = len(part) == len(left)
            frames = line.session.data(stream_id, memoryview(part), ends=ends)
            line.deliver(b"".join(bytes(frame) for frame in frames))
            line.client.acknowledge_received_data(len(part), stream_id)
            sent_bytes += len(part)
            at[stream_id] += len(part)
            if ends:
                del at[stream_id]
        line.exchange()
        assert sent_bytes or not at, "both windows stay closed"


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(0, 90_000), min_size=1, max_size=5),
    st.sampled_from((100, 5_000, 65_535, 1_000_000)),
    st.sampled_from((50, 1000, 10**9)),
)
def test_contents_arrive_whole_through_any_window(
    sizes: list[int], window_bytes: int, piece_bytes: int
) -> None:
    sizes = [min(size, 60 * window_bytes) for size in sizes]
    line = Line(window_bytes=window_bytes, piece_bytes=piece_bytes)
    line.exchange()
    ids = [line.ask(b"/%d" % size) for size in sizes]
    line.exchange()
    contents = {
        stream_id: bytes((stream_id,)) * size for stream_id, size in zip(ids, sizes, strict=True)
    }
    for stream_id in ids:
        lines = HEAD + b"Content-Length: %d\r\n" % len(contents[stream_id])
        line.deliver(line.session.headers(stream_id, encode_head(200, lines), ends=False))
    send_all(line, contents)
    for stream_id in ids:
        assert line.content(stream_id) == contents[stream_id]
    assert len(line.of(h2.events.StreamEnded)) == len(ids)
    assert line.session.open_streams == 0
    assert line.session.failure is None


def test_requests_and_responses_are_what_was_sent() -> None:
    line = Line(piece_bytes=1)
    first, second = line.ask(b"/config.json"), line.ask(b"/se/rd/serde")
    line.exchange()
    requests = [event for event in line.told if isinstance(event, RequestReceived)]
    assert [(event.stream_id, event.fields.path, event.ends) for event in requests] == [
        (first, b"/config.json", True),
        (second, b"/se/rd/serde", True),
    ]
    assert requests[0].fields.scheme == b"https"
    assert requests[1].fields.fields == {b"user-agent": b"cargo/1.95.0"}
    assert PeerReady() in line.told
    line.deliver(line.session.headers(second, encode_head(304, HEAD), ends=True))
    (response,) = line.of(h2.events.ResponseReceived)
    assert isinstance(response, h2.events.ResponseReceived)
    assert response.stream_id == second
    assert response.headers == [
        (b":status", b"304"),
        (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (b"etag", b'"a"'),
        (b"via", b"1.1 rust-mirror"),
    ]


def test_many_requests_use_no_table_after_the_acknowledgement() -> None:
    line = Line()
    line.exchange()
    for number in range(300):
        stream_id = line.ask(b"/%d" % number)
        line.exchange()
        line.deliver(line.session.headers(stream_id, encode_head(404, HEAD), ends=True))
    assert len(line.of(h2.events.StreamEnded)) == 300
    assert repr(line.session).startswith("<Session open")


def test_content_of_a_request_is_dropped_and_its_trailers_end_it() -> None:
    line = Line()
    line.exchange()
    stream_id = line.ask(b"/", ends=False, method=b"POST")
    line.client.send_data(stream_id, bytes(5000))
    line.client.send_headers(stream_id, [(b"x-checksum", b"1")], end_stream=True)
    line.exchange()
    assert line.told[-2:] == [
        ContentReceived(stream_id=stream_id, size_bytes=5000),
        RequestEnded(stream_id=stream_id),
    ]


def test_answer_before_the_content_and_reset_without_error() -> None:
    line = Line()
    line.exchange()
    stream_id = line.ask(b"/", ends=False, method=b"POST")
    line.client.send_data(stream_id, bytes(5000))
    line.exchange()
    line.deliver(line.session.headers(stream_id, encode_head(405, HEAD), ends=True))
    line.session.reset(stream_id, Code.NO_ERROR)
    line.exchange()
    (reset,) = line.of(h2.events.StreamReset)
    assert isinstance(reset, h2.events.StreamReset)
    assert reset.error_code == 0
    following = line.ask(b"/next")
    line.exchange()
    assert isinstance(line.told[-1], RequestReceived)
    assert line.told[-1].stream_id == following


def test_cancelled_request_is_told() -> None:
    line = Line()
    line.exchange()
    stream_id = line.ask(b"/")
    line.exchange()
    line.client.reset_stream(stream_id, Code.CANCEL)
    line.exchange()
    assert line.told[-1] == StreamReset(stream_id=stream_id, code=Code.CANCEL)


def test_fields_beyond_the_limit_leave_the_connection_usable() -> None:
    line = Line(limits=Limits(max_list_bytes=1000))
    line.exchange()
    line.ask(b"/first")
    stream_id: int = line.client.get_next_available_stream_id()
    lines = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
    line.client.remote_settings.update({h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 2**20})
    line.client.send_headers(stream_id, [*lines, (b"a", b"x" * 20_000)], end_stream=True)
    line.ask(b"/last")
    line.exchange()
    assert RequestRefused(stream_id=stream_id, status=431, ends=True) in line.told
    paths = [event.fields.path for event in line.told if isinstance(event, RequestReceived)]
    assert paths == [b"/first", b"/last"]


def test_two_steps_of_a_drain_as_a_client_sees_them() -> None:
    line = Line()
    line.exchange()
    stream_id = line.ask(b"/")
    line.exchange()
    line.session.go_away(ALL_STREAMS)
    line.session.go_away()
    line.exchange()
    ends = [event for event in line.seen if isinstance(event, h2.events.ConnectionTerminated)]
    assert [event.last_stream_id for event in ends] == [ALL_STREAMS, stream_id]
    assert {event.error_code for event in ends} == {0}
    assert not line.session.is_over
    assert line.session.headers(stream_id, encode_head(200, HEAD), ends=True)
    assert line.session.is_over


def test_upgraded_request_is_answered_on_stream_1() -> None:
    line = Line()
    client = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=True, header_encoding=None)
    )
    encoded = client.initiate_upgrade_connection()
    assert encoded is not None
    line.client = client
    line.session.upgrade(base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)))
    line.exchange()
    line.deliver(line.session.headers(1, encode_head(200, HEAD), ends=False))
    send_all(line, {1: b"x" * 70_000})
    assert line.content(1) == b"x" * 70_000
    line.ask(b"/second")
    line.exchange()
    assert isinstance(line.told[-1], RequestReceived)
    assert line.told[-1].stream_id == 3
