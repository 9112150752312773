"""What a client's messages, field blocks and content, do to an HTTP/2 session (RFC 9113).

Rules:
1. A fault that RFC 9113 gives to a stream ends the connection when that stream is not open: an
   idle or closed stream cannot be reset.
2. Frames of a stream that this server reset are dropped after what they do to the connection
   (field blocks, flow control): the client may have sent them before it knew (section 5.1).
3. Every frame is counted by what it may be abused for; those of requests by the streams they use.
4. Fields are decoded before anything else is decided about them, or the table is out of step.

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mirror.http.h2_assembly import Block, BlockAssembly
from mirror.http.h2_context_free import FieldLines
from mirror.http.h2_controls import read_control
from mirror.http.h2_errors import (
    Code,
    H2ConnectionError,
    H2StreamError,
    malformed,
    protocol_error,
)
from mirror.http.h2_events import (
    ContentReceived,
    RequestEnded,
    RequestReceived,
    RequestRefused,
)
from mirror.http.h2_fields import MalformedError, RequestFields, check_trailers, request_fields
from mirror.http.h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_STREAM,
    HEADERS,
    SETTINGS,
    Frame,
    rst_stream,
    unpadded,
    window_update,
)
from mirror.http.h2_state import SharedState
from mirror.http.h2_streams import StreamState

_TOO_MANY_FIELDS: Final = 431


class Receiver:
    """The receiving half of one connection, after the client's preface."""

    __slots__ = ("_assembly", "_shared")

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._assembly = BlockAssembly(shared.limits, shared.guard)

    def __repr__(self) -> str:
        return f"<Receiver {self._assembly!r} {self._shared.decoder!r}>"

    def handle(self, frame: Frame) -> None:
        """Do what `frame` says. Raises: H2ConnectionError."""
        shared = self._shared
        if self._assembly.stream_id:
            if frame.type != CONTINUATION or frame.stream_id != self._assembly.stream_id:
                raise protocol_error("Something came between the frames of a field block.")
        elif not shared.has_settings and (frame.type != SETTINGS or frame.flags & ACK):
            raise protocol_error("The first frame is not SETTINGS.")
        try:
            if frame.type in _MESSAGES:
                _MESSAGES[frame.type](self, frame)
            else:
                read_control(shared, frame)
        except H2StreamError as fault:
            self._reset(fault)

    @property
    def may_begin(self) -> bool:
        """Whether a request may come next: no field block is open."""
        return self._assembly.stream_id == 0

    def open(self, stream_id: int, fragment: bytes) -> None:
        """Open the stream of a whole request whose frame was taken before.

        Raises: H2ConnectionError.
        """
        block = Block(stream_id=stream_id, ends=True, depends_on=-1, fragment=fragment)
        lines = self._decode(block)
        try:
            self._open(block, lines)
        except H2StreamError as fault:
            self._reset(fault)

    def _reset(self, fault: H2StreamError) -> None:
        """Rules 1 and 2."""
        streams = self._shared.streams
        if fault.stream_id in streams.open:
            self._shared.reset_for_fault(fault.stream_id, fault.code)
        elif streams.is_reset_here(fault.stream_id):
            self._shared.guard.control()
        else:
            raise H2ConnectionError(fault.code, fault.message)

    # Field blocks.

    def _on_headers(self, frame: Frame) -> None:
        if frame.stream_id % 2 == 0:
            raise protocol_error("HEADERS are of a stream that no client opens.")
        block = self._assembly.begin(frame)
        if block is not None:
            self._on_block(block)

    def _on_continuation(self, frame: Frame) -> None:
        if not self._assembly.is_open:
            raise protocol_error("CONTINUATION comes after nothing.")
        block = self._assembly.go_on(frame)
        if block is not None:
            self._on_block(block)

    def _on_block(self, block: Block) -> None:
        shared, streams, stream_id = self._shared, self._shared.streams, block.stream_id
        lines = self._decode(block)
        stream = streams.open.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, block, lines)
        elif stream_id > streams.last_id:
            self._on_request(block, lines)
        elif streams.is_reset_here(stream_id):
            shared.guard.control()
        elif streams.was_used(stream_id):
            raise H2ConnectionError(Code.STREAM_CLOSED, "HEADERS are of a closed stream.")
        else:
            raise protocol_error("A stream's identifier is lower than an earlier one.")

    def _decode(self, block: Block) -> FieldLines | None:
        shared = self._shared
        lines = shared.decoder.decode(block.fragment)
        shared.guard.block(shared.decoder.last_work_bytes)
        return lines

    def _on_request(self, block: Block, lines: FieldLines | None) -> None:
        shared, stream_id = self._shared, block.stream_id
        streams = shared.streams
        streams.last_id = stream_id
        under_way = len(streams.open) + len(shared.recalled)
        if stream_id > shared.refused_above or under_way >= shared.limits.max_streams:
            shared.put(rst_stream(stream_id, Code.REFUSED_STREAM))
            streams.close(stream_id, is_reset_here=True)
            shared.guard.wasted_stream()
        else:
            self._open(block, lines)

    def _open(self, block: Block, lines: FieldLines | None) -> None:
        shared, stream_id = self._shared, block.stream_id
        stream = StreamState(
            stream_id,
            send_bytes=shared.peer_initial_bytes,
            receive_bytes=shared.stream_receive_bytes,
        )
        shared.streams.add(stream)
        stream.request_ended = block.ends
        _check_dependency(block)
        if lines is None:
            stream.is_known = True
            shared.events.append(
                RequestRefused(stream_id=stream_id, status=_TOO_MANY_FIELDS, ends=block.ends)
            )
            return
        fields = _valid_request(block, lines)
        stream.is_known = True
        stream.content_left_bytes = fields.content_bytes
        read = shared.decoder.last_read
        cut = None if read is None else shared.recollection.cut(read, fields)
        shared.events.append(
            RequestReceived(stream_id=stream_id, fields=fields, ends=block.ends, block=cut)
        )

    def _on_trailers(self, stream: StreamState, block: Block, lines: FieldLines | None) -> None:
        if stream.request_ended:
            raise H2StreamError(stream.stream_id, Code.STREAM_CLOSED, "The request had ended.")
        _check_dependency(block)
        if not block.ends:
            raise malformed(stream.stream_id, "Fields after content do not end the request.")
        if lines is None:
            raise H2StreamError(
                stream.stream_id, Code.ENHANCE_YOUR_CALM, "The trailers are too large."
            )
        try:
            check_trailers(lines)
        except MalformedError as exc:
            raise malformed(stream.stream_id, exc.message) from exc
        self._end_request(stream)

    def _end_request(self, stream: StreamState) -> None:
        if stream.content_left_bytes > 0:
            raise malformed(stream.stream_id, "The content is shorter than its length says.")
        stream.request_ended = True
        if stream.has_ended:
            self._shared.streams.close(stream.stream_id, is_reset_here=False)
        else:
            self._shared.events.append(RequestEnded(stream_id=stream.stream_id))

    # Content.

    def _on_data(self, frame: Frame) -> None:
        shared, stream_id = self._shared, frame.stream_id
        if shared.streams.is_idle(stream_id):
            raise protocol_error("DATA are of an idle stream.")
        content_bytes = len(unpadded(frame))
        size_bytes = len(frame.payload)  # padding counts for flow control (section 6.9.1)
        increment_bytes = shared.receive_window.take(size_bytes)
        if increment_bytes:
            shared.put(window_update(0, increment_bytes))
        ends = frame.flags & END_STREAM != 0
        stream = shared.streams.open.get(stream_id)
        if stream is None:
            self._drop_data(stream_id)
            return
        if content_bytes:
            shared.guard.control()
        elif not ends:
            shared.guard.empty()
        self._count_content(stream, size_bytes, content_bytes)
        if content_bytes:
            shared.events.append(ContentReceived(stream_id=stream_id, size_bytes=content_bytes))
        if ends:
            self._end_request(stream)

    def _drop_data(self, stream_id: int) -> None:
        if not self._shared.streams.is_reset_here(stream_id):
            raise H2ConnectionError(Code.STREAM_CLOSED, "DATA are of a closed stream.")
        self._shared.guard.control()

    def _count_content(self, stream: StreamState, size_bytes: int, content_bytes: int) -> None:
        if stream.request_ended:
            raise H2StreamError(stream.stream_id, Code.STREAM_CLOSED, "The request had ended.")
        if size_bytes and size_bytes > stream.receive_bytes:
            raise H2StreamError(
                stream.stream_id, Code.FLOW_CONTROL_ERROR, "Content exceeds the stream's window."
            )
        stream.receive_bytes -= size_bytes
        if stream.content_left_bytes >= 0:
            stream.content_left_bytes -= content_bytes
            if stream.content_left_bytes < 0:
                raise malformed(stream.stream_id, "The content is longer than its length says.")


_MESSAGES: Final[dict[int, Callable[[Receiver, Frame], None]]] = {
    DATA: Receiver._on_data,
    HEADERS: Receiver._on_headers,
    CONTINUATION: Receiver._on_continuation,
}


def _valid_request(block: Block, lines: FieldLines) -> RequestFields:
    try:
        fields = request_fields(lines)
    except MalformedError as exc:
        raise malformed(block.stream_id, exc.message) from exc
    if block.ends and fields.content_bytes > 0:
        raise malformed(block.stream_id, "The content is shorter than its length says.")
    return fields


def _check_dependency(block: Block) -> None:
    if block.depends_on == block.stream_id:
        raise H2StreamError(block.stream_id, Code.PROTOCOL_ERROR, "A stream depends on itself.")
