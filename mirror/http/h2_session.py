"""The server's side of one HTTP/2 connection: bytes in, events and bytes out (RFC 9113).

Rules:
1. Nothing that the client sends raises: a fault of one stream resets it, a fault of the
   connection queues GOAWAY, and `failure` says so. A malformed request is never answered.
2. Request content is counted against the windows and dropped.
3. `take_output` before anything else that is sent: the first bytes are this server's SETTINGS.
   What `headers` and `data` return goes out in the order of the calls. While the client does not
   read, output is left here, where its size is limited.
4. Calls for a stream that is over do nothing: the client's reset and the application's next call
   may cross.
5. A drain takes two steps: `go_away(ALL_STREAMS)`, and a round trip later `go_away()`, after
   which later streams are refused, so that the client may repeat them elsewhere.
6. `receive` stops before the request that would be one too many for a turn; `has_unread` says so,
   and `read_on` goes on. Frames that belong to a request stay with it: one that is reset by the
   same bytes is told of together with its end.
7. Memory is bounded by the limits: one field block, one frame, `max_streams`, and the output.
8. A request whose bytes are known (`h2_memo`) is no event: it waits in `recalled` until it is
   `answered`, or read by `read_recalled`. Should a frame come that is of its stream, it is read
   first. Until then it is under way like a stream, and counted by `max_streams`.

Units: bytes; seconds of a monotonic clock.
Does not: do I/O, read a clock, keep content, schedule streams, or answer.
Runs in: worker. Pure.
"""

from __future__ import annotations

from typing import Final

from mirror.http.h2_controls import apply_settings
from mirror.http.h2_errors import Code, H2ConnectionError
from mirror.http.h2_events import ConnectionFailed, Event
from mirror.http.h2_frames import (
    ALL_STREAMS,
    HEADERS,
    MAX_FRAME_BYTES,
    PREFACE,
    RST_STREAM,
    FrameReader,
    data_frames,
    goaway,
    header_frames,
    ping,
    rst_stream,
    settings_frame,
)
from mirror.http.h2_limits import Limits
from mirror.http.h2_memo import BlockMemo
from mirror.http.h2_receiver import Receiver
from mirror.http.h2_settings import (
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
)
from mirror.http.h2_state import SharedState
from mirror.http.h2_streams import StreamState

_PING_PAYLOAD: Final = bytes(8)  # at most one is under way
# A dynamic table of size 0 is within whatever the client's settings admit (RFC 7541 section 4.2);
# some clients refuse the next block without it after they lowered their limit.
_TABLE_SIZE_0: Final = b"\x20"
_UPGRADED_STREAM: Final = 1  # RFC 7540 section 3.2
# Of a turn's requests; one that is known takes 5 us, one that is read and decided about 60 to 120,
# which is why those that are known and read after all count in full.
RECALLED_PER_REQUEST: Final = 4


class Session:
    """One connection, from the client's preface to its end."""

    __slots__ = (
        "_preface_left",
        "_reader",
        "_receiver",
        "_shared",
        "failure",
        "has_unread",
        "recalled",
        "recalls",
    )

    def __init__(self, limits: Limits, *, now_s: float, memo: BlockMemo | None = None) -> None:
        """`memo`: what a worker's connections share; without it nothing is recalled."""
        self._shared = SharedState(limits, now_s, memo)
        self._reader = FrameReader()
        self._receiver = Receiver(self._shared)
        self._preface_left = PREFACE
        self.failure: ConnectionFailed | None = None
        self.has_unread = False
        self.recalled = self._shared.recalled
        self.recalls = memo is not None
        self._shared.put(
            settings_frame(
                (
                    (HEADER_TABLE_SIZE, 0),
                    (MAX_CONCURRENT_STREAMS, limits.max_streams),
                    (INITIAL_WINDOW_SIZE, limits.initial_window_bytes),
                    (MAX_FRAME_SIZE, MAX_FRAME_BYTES),
                    (MAX_HEADER_LIST_SIZE, limits.max_list_bytes),
                )
            )
        )

    def __repr__(self) -> str:
        state = "failed" if self.failure else "over" if self.is_over else "open"
        unread = " unread" if self.has_unread else ""
        return f"<Session {state}{unread} {self._shared!r}>"

    @property
    def is_over(self) -> bool:
        """Whether the connection can be closed once the output is sent."""
        if self.failure is not None:
            return True
        shared = self._shared
        is_ending = shared.is_peer_going or shared.refused_above != ALL_STREAMS
        return is_ending and not shared.streams.open

    @property
    def open_streams(self) -> int:
        """How many streams are not over."""
        return len(self._shared.streams.open)

    @property
    def last_stream_id(self) -> int:
        """The highest stream that the client opened."""
        return self._shared.streams.last_id

    def upgrade(self, settings_payload: bytes) -> None:
        """Open stream 1 for the request that asked for `Upgrade: h2c`; call it first.

        `settings_payload`: what HTTP2-Settings says, decoded. When it is not valid the connection
        has failed; `h2_settings.parse_settings` tells before the upgrade is agreed to.
        """
        shared = self._shared
        try:
            apply_settings(shared, settings_payload)
        except H2ConnectionError as exc:
            self._fail(exc)
            return
        stream = StreamState(
            _UPGRADED_STREAM,
            send_bytes=shared.peer_initial_bytes,
            receive_bytes=shared.stream_receive_bytes,
        )
        stream.is_known = stream.request_ended = True
        shared.streams.add(stream)
        shared.streams.last_id = _UPGRADED_STREAM

    def receive(
        self, received: bytes, now_s: float, *, most_requests: int = ALL_STREAMS
    ) -> list[Event]:
        """Take bytes from the client; what they mean, in order, as far as rule 6 lets."""
        if self.failure is not None:
            return []
        try:
            if self._preface_left:
                received = self._after_preface(received)
            self._reader.feed(received)
        except H2ConnectionError as exc:
            self._fail(exc)
        return self.read_on(now_s, most_requests=most_requests)

    def read_on(self, now_s: float, *, most_requests: int = ALL_STREAMS) -> list[Event]:
        """Return what further bytes mean that `receive` was given."""
        shared, reader = self._shared, self._reader
        shared.guard.now_s = now_s
        self.has_unread = False
        left = most_requests * RECALLED_PER_REQUEST
        try:
            while self.failure is None:
                if shared.decoder.is_context_free and self.recalls:
                    left -= self._recall(left)
                if left <= 0 and self._is_for_later(reader.next_type):
                    self.has_unread = True
                    break
                frame = reader.read()
                if frame is None:
                    break
                if frame.stream_id in self.recalled:
                    self._open_recalled(frame.stream_id)
                    left -= RECALLED_PER_REQUEST - 1
                self._receiver.handle(frame)
                shared.check_output()
                if frame.type == HEADERS:
                    left -= RECALLED_PER_REQUEST
        except H2ConnectionError as exc:
            self._fail(exc)
        # Handed over: a connection that is idle keeps no fields.
        events, shared.events = shared.events, []
        return events

    def answered(self, stream_ids: list[int], content_bytes: int) -> None:
        """Requests of `recalled` were answered whole, with so much content together."""
        shared = self._shared
        shared.window.left_bytes -= content_bytes
        shared.guard.sent(content_bytes, ends=len(stream_ids))
        shared.streams.close_answered(stream_ids)
        if len(stream_ids) == len(self.recalled):
            self.recalled.clear()
            return
        for stream_id in stream_ids:
            del self.recalled[stream_id]

    def read_recalled(self, most: int) -> list[Event]:
        """Read the first of what is left in `recalled` after all; return the events."""
        try:
            for stream_id in list(self.recalled)[:most]:
                self._open_recalled(stream_id)
        except H2ConnectionError as exc:
            self._fail(exc)
        events, self._shared.events = self._shared.events, []
        return events

    @property
    def fresh_allowances(self) -> tuple[int, int]:
        """How many bytes of content the connection's window admits, and that of a stream on which
        nothing was sent; both below 0 while the next head is not like the others."""
        shared = self._shared
        if shared.owes_size_update or self.failure is not None:
            return -1, -1
        return shared.window.left_bytes, shared.peer_initial_bytes

    def _recall(self, most: int) -> int:
        """Take requests that are known into `recalled`; how many."""
        shared = self._shared
        if not self._receiver.may_begin:
            return 0
        streams, recalled = shared.streams, self.recalled
        room = shared.limits.max_streams - len(streams.open) - len(recalled)
        ids = range(streams.last_id + 1 | 1, shared.refused_above + 1, 2)
        read = self._reader.read_known(shared.recollection.recall, ids, min(most, room))
        if read:
            recalled.update(read)
            streams.last_id = read[-1][0]
        return len(read)

    def _is_for_later(self, next_type: int | None) -> bool:
        """Rule 6: whether a frame has to wait once a turn's requests are read. While some are
        recalled any other frame may be of one, which then is begun."""
        if next_type == HEADERS:
            return True
        return bool(self.recalled) and next_type not in (None, RST_STREAM)

    def _open_recalled(self, stream_id: int) -> None:
        self._receiver.open(stream_id, self.recalled.pop(stream_id).block)

    def take_output(self) -> bytes:
        """Return the control frames that are to be sent."""
        return self._shared.take_output()

    def headers(self, stream_id: int, block: bytes, *, ends: bool) -> bytes:
        """Return the frames of a response head; `ends`: and no content follows."""
        stream = self._sending(stream_id)
        if stream is None:
            return b""
        if self._shared.owes_size_update:
            self._shared.owes_size_update = False
            block = _TABLE_SIZE_0 + block
        if ends:
            self._end(stream)
        return header_frames(stream_id, block, ends=ends)

    def allowance(self, stream_id: int) -> int:
        """Return how many bytes of content both windows admit; 0 when the stream is over."""
        stream = self._sending(stream_id)
        if stream is None:
            return 0
        return max(0, min(stream.window.left_bytes, self._shared.window.left_bytes))

    def data(
        self, stream_id: int, content: bytes | memoryview, *, ends: bool
    ) -> list[bytes | memoryview]:
        """Return the frames of content, at most `allowance` bytes; views of it are not copied.

        Raises: ValueError for more than the windows admit, which is a fault of the caller.
        """
        stream = self._sending(stream_id)
        if stream is None:
            return []
        size_bytes = len(content)
        if size_bytes > self.allowance(stream_id) and size_bytes:
            raise ValueError(size_bytes)
        stream.window.left_bytes -= size_bytes
        self._shared.window.left_bytes -= size_bytes
        self._shared.guard.sent(size_bytes, ends=ends)
        if ends:
            self._end(stream)
        return data_frames(stream_id, content, ends=ends)

    def reset(self, stream_id: int, code: Code) -> None:
        """Give a stream up; nothing happens when it is over."""
        if self.failure is None and stream_id in self._shared.streams.open:
            self._shared.put(rst_stream(stream_id, code))
            self._shared.streams.close(stream_id, is_reset_here=True)

    def ping(self) -> None:
        """Ask for a `PingAnswered`: a round trip."""
        if self.failure is None:
            self._shared.awaited_ping = _PING_PAYLOAD
            self._shared.put(ping(_PING_PAYLOAD))

    def go_away(self, last_stream_id: int | None = None, code: Code = Code.NO_ERROR) -> None:
        """Announce the end (rule 5); without `last_stream_id` the streams so far are the last."""
        shared = self._shared
        if self.failure is not None:
            return
        last = shared.streams.last_id if last_stream_id is None else last_stream_id
        # It must not grow from one GOAWAY to the next (section 6.8).
        shared.refused_above = min(last, shared.refused_above)
        shared.put(goaway(shared.refused_above, code))

    def _sending(self, stream_id: int) -> StreamState | None:
        """The stream when something may be sent on it."""
        stream = self._shared.streams.open.get(stream_id)
        return None if stream is None or stream.has_ended else stream

    def _end(self, stream: StreamState) -> None:
        stream.has_ended = True
        if stream.request_ended:
            self._shared.streams.close(stream.stream_id, is_reset_here=False)

    def _after_preface(self, received: bytes) -> bytes:
        left = self._preface_left
        if not left.startswith(received[: len(left)]):
            raise H2ConnectionError(Code.PROTOCOL_ERROR, "The preface is not of HTTP/2.")
        self._preface_left = left[len(received) :]
        return received[len(left) :]

    def _fail(self, exc: H2ConnectionError) -> None:
        shared = self._shared
        self.failure = ConnectionFailed(code=exc.code, reason=exc.message)
        # As in `go_away`: streams that a drain refused are not among those that were read.
        last = min(shared.streams.last_id, shared.refused_above)
        shared.put(goaway(last, exc.code, exc.message.encode("ascii")))
        shared.streams.open.clear()
        self.recalled.clear()
        shared.events.append(self.failure)
