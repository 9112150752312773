"""One HTTP/2 connection: events of the frame layer to requests.

Rules:
1. Bytes go to the sans-IO `Session`; its events are carried out here. A request that is reset by
   the same bytes is never begun (rapid reset costs its frames, and no look-up).
2. A request with content is refused; one that is not ended waits, without a look-up, for its end.
3. A worker that ends says GOAWAY twice (RFC 9113 section 6.8): the first still admits what is on
   its way; the second, a round trip or `DRAIN_GRACE_S` later, names the last stream that is
   answered.
4. At most `TURN_REQUESTS` requests of a connection are begun in one turn of the loop.
5. Behind a 101 one turn of `FIRST_TURN_BYTES` leaves before the client has spoken HTTP/2: libcurl
   (7.88 at least) fails a transfer if it reads more than 32 KiB together with the 101.
6. What the session recalls is answered first, without a stream (`h2_learned_path`). While the
   socket is full it waits in the session, unless another stream waits too: then it becomes a
   stream as well, and takes turns. Of what becomes one, rule 4 holds; the rest is looked at again
   in the next turn.

Does not: route, read files, or know how it became HTTP/2 (`connection`).
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final, Protocol

from mirror.errors import RequestError
from mirror.http.h2_errors import Code
from mirror.http.h2_events import (
    ConnectionFailed,
    ContentReceived,
    Event,
    PeerGoingAway,
    PeerReady,
    PingAnswered,
    RequestEnded,
    RequestReceived,
    RequestRefused,
    SendAllowed,
    StreamReset,
)
from mirror.http.h2_frames import ALL_STREAMS
from mirror.serve.h2_requests import line_of, request_of_stream
from mirror.serve.h2_stream import TURN_BYTES
from mirror.serve.h2_streams import H2Streams, Peers, Unended
from mirror.serve.h2_switch import SWITCHING
from mirror.serve.request import Request
from mirror.serve.shared import Shared
from mirror.serve.stream import RequestPath

DRAIN_GRACE_S: Final = 1.0
FIRST_TURN_BYTES: Final = 16_384
# Of one connection, before others have their turn: some 2 ms. Without this bound a client that
# opens and resets streams as fast as it can held up its neighbours for 20 to 45 ms at a time.
TURN_REQUESTS: Final = 16
_TOO_LARGE: Final = RequestError(431, "The request's fields are too large.")
_WITH_CONTENT: Final = RequestError(400, "Request content is not accepted.")
# `refuse` sends no content to what begins so; of a list that was not read the method is not known.
_ANY_METHOD: Final = b"HEAD "


class RecallingPath(RequestPath, Protocol):
    """`request_path.RequestPath`, as requests of HTTP/2 need it."""

    def serve_recalled(self, connection: H2Streams) -> bool:
        """Answer what the session recalled; whether the rest waits only for another turn."""


class H2Connection(H2Streams):
    """The protocol object of one client; see the module's rules."""

    __slots__ = ("_path",)

    def __init__(self, shared: Shared, path: RecallingPath, peers: Peers) -> None:
        super().__init__(shared, peers)
        self._path = path

    # How it begins: `take_over`, then one of the others.

    def take_over(self, transport: asyncio.Transport, *, is_paused: bool) -> None:
        """Become the protocol of a transport that another one had."""
        self.connection_made(transport)
        self.is_paused = is_paused
        # A known block would pass by the rule of `plaintext`, as a learned head would.
        serves_all = self._shared.config.serve.plaintext == "serve"
        self.session.recalls = serves_all or self.scheme == "https"
        transport.set_protocol(self)
        if not transport.is_reading():
            transport.resume_reading()

    def start(self, received: bytes) -> None:
        """Begin with the client's preface, of which `received` is perhaps a part."""
        self.put(self.session.take_output())
        if received:
            self.data_received(received)
        if self._shared.is_draining:
            self.drain()

    def start_upgraded(self, request: Request, received: bytes) -> None:
        """Begin behind an HTTP/1.1 request that asked for it, and answer it on stream 1."""
        self.put(SWITCHING)
        self.session.upgrade(request.h2_settings or b"")
        self.put(self.session.take_output())
        self.turn_bytes = FIRST_TURN_BYTES
        self._path.begin(self._open(1, is_request_whole=True), request, b"")
        if received:
            self.data_received(received)

    def turn_away(self) -> None:
        """Too many connections: say so and close."""
        self.put(self.session.take_output())
        self._say_goodbye(Code.ENHANCE_YOUR_CALM)
        self.close()

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        now_s = self._shared.wheel.monotonic_s
        self._take(self.session.receive(data, now_s, most_requests=TURN_REQUESTS))

    def _read_on(self) -> None:
        """See `H2Streams`."""
        self._is_reading_on = False
        if not self._is_closing:
            now_s = self._shared.wheel.monotonic_s
            self._take(self.session.read_on(now_s, most_requests=TURN_REQUESTS))

    def _take(self, events: list[Event]) -> None:
        self._is_in_turn = True
        self.put(self.session.take_output())
        if self.session.recalled:
            events = self._answer_recalled(TURN_REQUESTS - len(events)) + events
        self._carry_out(events)
        self.take_turn()

    def _answer_recalled(self, most: int = TURN_REQUESTS) -> list[Event]:
        """Rule 6; return the events of what has to be read: of one request, or `most`."""
        self._greet()
        is_for_later = self._path.serve_recalled(self)
        self._idle_at = self._shared.wheel.idle_deadline_at
        if is_for_later or self._is_closing or (self.is_paused and not self._streams):
            return []
        return self.session.read_recalled(max(1, most))

    def resume_writing(self) -> None:
        """See `H2Streams`."""
        # Within a turn what was recalled is being answered.
        if self.session.recalled and not self._is_closing and not self._is_in_turn:
            self.is_paused = False
            self._is_in_turn = True
            self._carry_out(self._answer_recalled())
            if self.is_paused:
                self.take_turn()
                return
        super().resume_writing()

    def eof_received(self) -> bool:
        """The client is gone: one that only shuts its sending side could not open windows."""
        self._has_eof = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._shared.wheel.discard(self)
        if self.client:
            self._shared.clients.discard(self.client)
        self._cancel_streams()

    # What the worker calls.

    def drain(self) -> None:
        """The worker ends (rule 3)."""
        if self._is_closing or self._drain_at != math.inf:
            return
        self._drain_at = self._shared.wheel.monotonic_s + DRAIN_GRACE_S
        self.session.go_away(ALL_STREAMS)
        self.session.ping()
        self.put(self.session.take_output())
        self.take_turn()

    # Events.

    def _carry_out(self, events: list[Event]) -> None:
        # Rule 1. Such a stream is over for the session, so nothing could be sent on it anyway.
        gone = {event.stream_id for event in events if isinstance(event, StreamReset)}
        for event in events:
            match event:
                case RequestReceived() if event.stream_id not in gone:
                    self._receive(event)
                case RequestRefused() if event.stream_id not in gone:
                    stream = self._open(event.stream_id, is_request_whole=event.ends)
                    self._path.refuse(stream, _TOO_LARGE, _ANY_METHOD)
                case RequestEnded():
                    self._receive_end(event.stream_id)
                case ContentReceived():
                    self._refuse_content(event)
                case StreamReset():
                    if event.stream_id in self._streams:
                        self._streams[event.stream_id].cancel()
                case SendAllowed():
                    self._let_on(event.stream_id)
                case _:
                    self._carry_out_for_all(event)

    def _carry_out_for_all(self, event: Event) -> None:
        match event:
            case PeerReady():
                self._greet()
            case PeerGoingAway():
                self._is_ending = True
            case PingAnswered():
                if self._drain_at != math.inf:
                    self._end()
            case ConnectionFailed():
                self._fail(event)

    def _greet(self) -> None:
        if not self._is_greeted:
            self._is_greeted = True
            self.turn_bytes = TURN_BYTES
            self._idle_at = self._shared.wheel.idle_deadline_at

    def _receive(self, received: RequestReceived) -> None:
        self._greet()
        stream = self._open(received.stream_id, is_request_whole=received.ends)
        shared = self._shared
        try:
            request = request_of_stream(
                received.fields, max_target_bytes=shared.max_target_bytes, block=received.block
            )
        except RequestError as refusal:
            self._path.refuse(stream, refusal, line_of(received.fields))
            return
        if received.ends:
            self._path.begin(stream, request, b"")
        else:
            late_at = shared.wheel.head_deadline_at
            self._unended[stream] = Unended(request=request, deadline_at=late_at)

    def _receive_end(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.is_request_whole = True
        waiting = self._unended.pop(stream, None)
        if waiting is not None:
            self._path.begin(stream, waiting.request, b"")

    def _refuse_content(self, received: ContentReceived) -> None:
        stream = self._streams.get(received.stream_id)
        if stream is None or not received.size_bytes:
            return
        waiting = self._unended.pop(stream, None)
        if waiting is not None:
            line = b"%b %b HTTP/2" % (waiting.request.method, waiting.request.target)
            self._path.refuse(stream, _WITH_CONTENT, line)

    def _let_on(self, stream_id: int) -> None:
        if stream_id == 0:
            self._queue_all()
        elif stream_id in self._streams:
            self._turns.queue(self._streams[stream_id])

    # The end.

    def _fail(self, failed: ConnectionFailed) -> None:
        """The session has put its GOAWAY into the output."""
        self._shared.refusals.note(self.peer, 400, failed.reason, failed.code.name.encode())
        self.close_lingering()
