"""An HTTP/2 client without I/O, on the `h2` library: an implementation that is not the product's.

Rules:
1. What the server sends is judged by `h2`, which raises at every breach of the protocol.
2. GOAWAY is read here: after one `h2` takes no frame of the streams that are still answered.
3. Content is granted back as it comes, but on streams that are `stalled`.

Runs in: tests.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

Codes = h2.errors.ErrorCodes
ALL_STREAMS = 2**31 - 1  # in a GOAWAY: none is refused
_HEAD_BYTES = 9
_GOAWAY = 7
Setting = h2.settings.SettingCodes


@dataclass
class Received:
    """One response as far as it has come; `reset_code` None: the server did not reset it."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)
    is_complete: bool = False
    reset_code: int | None = None

    @property
    def is_over(self) -> bool:
        return self.is_complete or self.reset_code is not None


class Peer:
    """One connection of a client: call `receive` with bytes, and send what `take` returns."""

    def __init__(
        self, *, settings: Mapping[Setting, int] | None = None, authority: str = "m"
    ) -> None:
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        # In force at once: they are the first that the server reads.
        values = {Setting(key): value for key, value in (settings or {}).items()}
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values=values)
        self.responses: dict[int, Received] = {}
        self.arrivals: list[tuple[int, int]] = []
        self.goaways: list[tuple[int, int]] = []  # code, last stream
        self.stalled: set[int] = set()
        self.is_stalled = False  # all of them
        self._authority = authority
        self._unread = b""

    def begin(self) -> None:
        """Begin by prior knowledge."""
        self.h2.initiate_connection()

    def begin_upgraded(self) -> bytes:
        """Begin behind an upgrade; return the value of HTTP2-Settings. Stream 1 is open then."""
        value: bytes = self.h2.initiate_upgrade_connection() or b""
        self.responses[1] = Received()
        return value

    def ask(
        self,
        path: str,
        fields: Iterable[tuple[str, str]] = (),
        *,
        method: str = "GET",
        ends: bool = True,
    ) -> int:
        """Send a request; return its stream."""
        stream_id: int = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":authority", self._authority)]
        self.h2.send_headers(stream_id, [*pseudo, (":path", path), *fields], end_stream=ends)
        self.responses[stream_id] = Received()
        return stream_id

    def receive(self, data: bytes) -> None:
        """Take bytes of the server."""
        self._unread += data
        while len(self._unread) >= _HEAD_BYTES:
            end = _HEAD_BYTES + int.from_bytes(self._unread[:3], "big")
            if len(self._unread) < end:
                break
            frame, self._unread = self._unread[:end], self._unread[end:]
            if frame[3] == _GOAWAY:
                last, code = frame[9:13], frame[13:17]
                self.goaways.append((int.from_bytes(code, "big"), int.from_bytes(last, "big")))
                continue
            for event in self.h2.receive_data(frame):
                self._note(event)

    def take(self) -> bytes:
        """Return what is to be sent."""
        taken: bytes = self.h2.data_to_send()
        return taken

    def grant(self, stream_id: int, size_bytes: int) -> None:
        """Open a stalled stream's window, and the connection's, by so much."""
        self.h2.acknowledge_received_data(size_bytes, stream_id)

    @property
    def are_over(self) -> bool:
        """Whether every response has come to its end."""
        return all(response.is_over for response in self.responses.values())

    def _note(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                response = self.responses[event.stream_id]
                for raw_name, raw_value in event.headers:
                    name, value = raw_name.decode(), raw_value.decode("latin-1")
                    if name == ":status":
                        response.status = int(value)
                    else:
                        assert name not in response.fields, f"{name} twice"
                        response.fields[name] = value
            case h2.events.DataReceived():
                self.responses[event.stream_id].content += event.data
                self.arrivals.append((event.stream_id, len(event.data)))
                if not self.is_stalled and event.stream_id not in self.stalled:
                    self.grant(event.stream_id, event.flow_controlled_length)
            case h2.events.StreamEnded():
                self.responses[event.stream_id].is_complete = True
            case h2.events.StreamReset():
                self.responses[event.stream_id].reset_code = int(event.error_code)
            case _:
                pass


def upgrade_request(path: str, settings: bytes, *lines: str) -> bytes:
    """Return an HTTP/1.1 request as cargo's libcurl sends it, offering h2c."""
    head = [
        f"GET {path} HTTP/1.1",
        "Host: m",
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        f"HTTP2-Settings: {settings.decode()}",
        *lines,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


def settings_value(*pairs: tuple[int, int]) -> bytes:
    """Return the value of an HTTP2-Settings field."""
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs)
    return base64.urlsafe_b64encode(payload).rstrip(b"=")
