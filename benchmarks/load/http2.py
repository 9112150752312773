"""HTTP/2 as cargo speaks it: one connection, many requests at once.

Rules:
1. Plaintext begins by prior knowledge or, as cargo's curl does, by `Upgrade: h2c`; TLS by ALPN.
2. Content is hashed per stream and thrown away; windows are given back as it is taken.
3. What breaks is told in the answers, for a whole connection in those that were due.

Units: bytes, seconds. Runs in: benchmark, both environments.
"""

from __future__ import annotations

import enum
import hashlib
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.settings import SettingCodes

from benchmarks.load.answers import Answer, Question
from benchmarks.load.doors import Door
from benchmarks.load.http1 import spoiled

if TYPE_CHECKING:
    from hashlib import _Hash

# cargo's curl has up to 100 under way; the mirror allows 128 by default.
STREAMS_AT_ONCE = 64
_PIECE_BYTES = 256 << 10
_CONNECTION_WINDOW_BYTES = 16 << 20
_STREAM_WINDOW_BYTES = 4 << 20
_MAX_HEAD_BYTES = 16 << 10


class Beginning(enum.Enum):
    PRIOR_KNOWLEDGE = "prior knowledge"
    UPGRADE = "upgrade"


@dataclass(slots=True)
class _Arrival:
    question: Question
    began_at: float = field(default_factory=time.monotonic)
    digest: _Hash = field(default_factory=hashlib.sha256)
    fields: dict[str, str] = field(default_factory=dict)
    length_bytes: int = 0

    def answer(self, failure: str = "") -> Answer:
        return Answer(
            question=self.question,
            took_s=time.monotonic() - self.began_at,
            status=int(self.fields.get(":status", "0")),
            fields=self.fields,
            length_bytes=self.length_bytes,
            sha256=self.digest.hexdigest(),
            failure=failure,
        )


class AtOnce:
    """One connection that is opened with its first request; close it when done."""

    def __init__(self, door: Door, beginning: Beginning = Beginning.PRIOR_KNOWLEDGE) -> None:
        self._door = door
        self._beginning = beginning
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        self._h2 = h2.connection.H2Connection(config)
        self._socket: socket.socket | None = None
        self._open: dict[int, _Arrival] = {}

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def ask_all(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Yield one answer per question, in the order in which they come."""
        waiting = list(reversed(questions))
        try:
            self._begin(waiting)
            while waiting or self._open:
                while waiting and len(self._open) < STREAMS_AT_ONCE:
                    self._send(waiting.pop())
                yield from self._turn()
        except (OSError, ValueError, h2.exceptions.ProtocolError) as exc:
            failure = f"{type(exc).__name__}: {exc}"
            due = [*self._open.values(), *map(_Arrival, reversed(waiting))]
            self._open.clear()
            yield from (arrival.answer(failure) for arrival in due)

    def _begin(self, waiting: list[Question]) -> None:
        """Connect unless it is done; by upgrade the first question goes out as HTTP/1.1."""
        if self._socket is not None:
            return
        self._socket = self._door.connect("h2")
        if self._beginning is Beginning.UPGRADE and not self._door.is_secured:
            self._upgrade(waiting.pop())
        else:
            self._h2.initiate_connection()
        # By a frame of their own: what is changed before the preface, h2 counts and does not send.
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW_BYTES})
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW_BYTES)
        self._flush()

    def _upgrade(self, question: Question) -> None:
        settings = self._h2.initiate_upgrade_connection() or b""
        self._open[1] = _Arrival(question)
        lines = [f"GET {question.item.target} HTTP/1.1", f"Host: {self._door.authority}"]
        lines += [f"{name}: {value}" for name, value in question.fields().items()]
        lines += ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"]
        lines += [f"HTTP2-Settings: {settings.decode()}", "", ""]
        self._connected.sendall("\r\n".join(lines).encode("latin-1"))
        received = b""
        while not received.endswith(b"\r\n\r\n"):  # by the byte: frames follow at once
            piece = self._connected.recv(1)
            if not piece or len(received) > _MAX_HEAD_BYTES:
                raise ConnectionError("closed before the upgrade")
            received += piece
        if not received.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(f"no upgrade: {received[:40]!r}")

    @property
    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionError("not connected")
        return self._socket

    def _send(self, question: Question) -> None:
        stream_id = self._h2.get_next_available_stream_id()
        fields = [
            (":method", "GET"),
            (":scheme", "https" if self._door.is_secured else "http"),
            (":authority", self._door.authority),
            (":path", question.item.target),
            *((name.lower(), value) for name, value in question.fields().items()),
        ]
        self._h2.send_headers(stream_id, fields, end_stream=True)
        self._open[stream_id] = _Arrival(question)

    def _turn(self) -> Iterator[Answer]:
        self._flush()
        received = self._connected.recv(_PIECE_BYTES)
        if not received:
            raise ConnectionError("closed by the mirror")
        for event in self._h2.receive_data(received):
            yield from self._happened(event)
        self._flush()

    def _happened(self, event: h2.events.Event) -> Iterator[Answer]:
        match event:
            case h2.events.ResponseReceived():
                arrival = self._open[event.stream_id]
                arrival.fields = {str(name): str(value) for name, value in event.headers}
            case h2.events.DataReceived():
                self._take(event)
            case h2.events.StreamEnded():
                yield self._open.pop(event.stream_id).answer()
            case h2.events.StreamReset():
                yield self._open.pop(event.stream_id).answer(f"reset, code {event.error_code}")
            case h2.events.ConnectionTerminated():
                raise ConnectionError(f"ended by the mirror, code {event.error_code}")
            case _:
                pass  # settings, windows: h2 keeps account of them

    def _take(self, event: h2.events.DataReceived) -> None:
        arrival = self._open[event.stream_id]
        piece = event.data or b""
        if arrival.question.is_planted and not arrival.length_bytes:
            piece = spoiled(piece)
        arrival.digest.update(piece)
        arrival.length_bytes += len(piece)
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _flush(self) -> None:
        if pending := self._h2.data_to_send():
            self._connected.sendall(pending)
