"""What a client's control frames do to an HTTP/2 session (RFC 9113 section 6).

Rules:
1. Every frame is counted by what it may be abused for: most as control frames, RST_STREAM as a
   stream without use, WINDOW_UPDATE beyond what was sent.
2. PRIORITY is checked and ignored; frames of unknown types are ignored (section 5.5).
3. A fault that names a stream is raised for that stream, whatever became of it; what that means
   for one that is not open is the receiver's.

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mirror.http.h2_errors import Code, H2ConnectionError, H2StreamError, protocol_error, size_error
from mirror.http.h2_events import PeerGoingAway, PeerReady, PingAnswered, SendAllowed, StreamReset
from mirror.http.h2_frames import (
    ACK,
    GOAWAY,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW_UPDATE,
    Frame,
    ping_ack,
    u31,
    u32,
)
from mirror.http.h2_settings import parse_settings
from mirror.http.h2_state import SharedState

_PING_BYTES: Final = 8
_PRIORITY_BYTES: Final = 5
_LEAST_GOAWAY_BYTES: Final = 8


def read_control(shared: SharedState, frame: Frame) -> None:
    """Do what `frame` says. Raises: H2ConnectionError, H2StreamError."""
    handler = _HANDLERS.get(frame.type)
    if handler is None:
        shared.guard.control()
    else:
        handler(shared, frame)


def apply_settings(shared: SharedState, payload: bytes) -> None:
    """Take a client's settings, of a frame or an upgrade. Raises: H2ConnectionError."""
    settings = parse_settings(payload, shared.limits.max_settings_lines)
    shared.owes_size_update = True
    if settings.initial_window_bytes is None:
        return
    delta_bytes = settings.initial_window_bytes - shared.peer_initial_bytes
    shared.peer_initial_bytes = settings.initial_window_bytes
    try:
        has_opened = shared.streams.grow_all(delta_bytes)
    except OverflowError as exc:
        raise H2ConnectionError(Code.FLOW_CONTROL_ERROR, "A window is too large.") from exc
    if has_opened:
        shared.events.append(SendAllowed(stream_id=0))


def _on_rst_stream(shared: SharedState, frame: Frame) -> None:
    stream_id = frame.stream_id
    if len(frame.payload) != 4:
        raise size_error("RST_STREAM")
    if shared.streams.is_idle(stream_id):
        raise protocol_error("RST_STREAM is of an idle stream.")
    stream = shared.streams.open.get(stream_id)
    if stream is None:
        shared.guard.control()
        return
    shared.streams.close(stream_id, is_reset_here=False)
    shared.events.append(StreamReset(stream_id=stream_id, code=u32(frame.payload)))
    shared.guard.wasted_stream()


def _on_window_update(shared: SharedState, frame: Frame) -> None:
    stream_id = frame.stream_id
    shared.guard.grant()
    if len(frame.payload) != 4:
        raise size_error("WINDOW_UPDATE")
    increment_bytes = u31(frame.payload)
    if stream_id == 0:
        _grow_connection(shared, increment_bytes)
        return
    if shared.streams.is_idle(stream_id):
        raise protocol_error("WINDOW_UPDATE is of an idle stream.")
    if increment_bytes == 0:
        raise H2StreamError(stream_id, Code.PROTOCOL_ERROR, "A window is not opened by 0.")
    stream = shared.streams.open.get(stream_id)
    if stream is None:
        return
    try:
        if stream.window.grow(increment_bytes):
            shared.events.append(SendAllowed(stream_id=stream_id))
    except OverflowError as exc:
        raise H2StreamError(stream_id, Code.FLOW_CONTROL_ERROR, "A window is too large.") from exc


def _grow_connection(shared: SharedState, increment_bytes: int) -> None:
    if increment_bytes == 0:
        raise protocol_error("A window is not opened by 0.")
    try:
        if shared.window.grow(increment_bytes):
            shared.events.append(SendAllowed(stream_id=0))
    except OverflowError as exc:
        raise H2ConnectionError(Code.FLOW_CONTROL_ERROR, "A window is too large.") from exc


def _on_settings(shared: SharedState, frame: Frame) -> None:
    shared.guard.control()
    if frame.stream_id:
        raise protocol_error("SETTINGS are of a stream.")
    if frame.flags & ACK:
        _on_settings_ack(shared, frame)
        return
    apply_settings(shared, frame.payload)
    shared.has_settings = True
    shared.put(SETTINGS_ACK)


def _on_settings_ack(shared: SharedState, frame: Frame) -> None:
    if frame.payload:
        raise size_error("SETTINGS")
    if shared.has_ack:
        return  # of nothing; section 6.5.3 does not make it an error
    shared.has_ack = True
    shared.decoder.forbid_table()
    delta_bytes = shared.limits.initial_window_bytes - shared.stream_receive_bytes
    shared.stream_receive_bytes = shared.limits.initial_window_bytes
    for stream in shared.streams.all():
        stream.receive_bytes += delta_bytes
    shared.events.append(PeerReady())


def _on_ping(shared: SharedState, frame: Frame) -> None:
    shared.guard.control()
    if frame.stream_id:
        raise protocol_error("PING is of a stream.")
    if len(frame.payload) != _PING_BYTES:
        raise size_error("PING")
    if not frame.flags & ACK:
        shared.put(ping_ack(frame.payload))
    elif frame.payload == shared.awaited_ping:
        shared.awaited_ping = b""
        shared.events.append(PingAnswered())


def _on_priority(shared: SharedState, frame: Frame) -> None:
    """Checked, then ignored: section 5.3.2 gives them up."""
    shared.guard.control()
    stream_id = frame.stream_id
    if stream_id == 0:
        raise protocol_error("PRIORITY is of the connection.")
    if len(frame.payload) != _PRIORITY_BYTES:
        raise H2StreamError(stream_id, Code.FRAME_SIZE_ERROR, "PRIORITY has a wrong length.")
    if u31(frame.payload) == stream_id:
        raise H2StreamError(stream_id, Code.PROTOCOL_ERROR, "A stream depends on itself.")


def _on_goaway(shared: SharedState, frame: Frame) -> None:
    shared.guard.control()
    if frame.stream_id:
        raise protocol_error("GOAWAY is of a stream.")
    if len(frame.payload) < _LEAST_GOAWAY_BYTES:
        raise size_error("GOAWAY")
    shared.is_peer_going = True
    shared.events.append(PeerGoingAway(code=u32(frame.payload, 4)))


def _on_push_promise(_shared: SharedState, _frame: Frame) -> None:
    raise protocol_error("A client does not push.")


_HANDLERS: Final[dict[int, Callable[[SharedState, Frame], None]]] = {
    PRIORITY: _on_priority,
    RST_STREAM: _on_rst_stream,
    SETTINGS: _on_settings,
    PUSH_PROMISE: _on_push_promise,
    PING: _on_ping,
    GOAWAY: _on_goaway,
    WINDOW_UPDATE: _on_window_update,
}
