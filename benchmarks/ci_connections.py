"""Connections of clients that count: HTTP/1.1 in plaintext or TLS, HTTP/2 by upgrade or ALPN.

Rules:
1. Every byte of a head and of content is counted apart; content is counted and thrown away.
2. What a reply lacks is said by its receipt; a connection that fails raises `BrokenError` with the
   receipts of what was under way.
3. An HTTP/1.1 response without Content-Length is refused: its end could not be told from a cut.

Does not: retry (`ci_clients`). Runs in: benchmarks, tests.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from benchmarks.ci_receipts import Receipt, SocketCount, received_bytes_of

TIMEOUT_S = 30.0
_PIECE_BYTES = 256 << 10
_MAX_HEAD_BYTES = 64 << 10
# cargo's curl has up to 60 under way at a distance; near by the first answers come before that.
_STREAMS_AT_ONCE = 20
_WINDOW_BYTES = 16 << 20
_NO_CONTENT = frozenset((204, 304))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request as it goes out; `abandon_after` None: the whole response is read."""

    method: str
    target: str
    fields: Mapping[str, str]
    abandon_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where a client of one group connects, and from which address."""

    group: int
    source: str
    port: int
    context: ssl.SSLContext | None = None  # None: plaintext

    def connect(self) -> socket.socket:
        plain = socket.create_connection(
            ("127.0.0.1", self.port), timeout=TIMEOUT_S, source_address=(self.source, 0)
        )
        if self.context is None:
            return plain
        try:
            return self.context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise


class BrokenError(Exception):
    """A connection ended early; `receipts` say of each request under way what had come."""

    def __init__(self, receipts: Sequence[Receipt]) -> None:
        super().__init__(f"{len(receipts)} requests were under way")
        self.receipts = tuple(receipts)


class OneByOne:
    """HTTP/1.1: one request after the other."""

    def __init__(self, door: Door) -> None:
        """Raises: OSError when there is no connection."""
        self._door = door
        self._socket = door.connect()
        self._buffer = bytearray(_PIECE_BYTES)

    def ask_all(self, questions: Sequence[Question]) -> Iterator[Receipt]:
        """Yield a receipt per question. Raises: BrokenError."""
        for question in questions:
            receipt = self._ask(question)
            if not (receipt.is_complete or receipt.is_abandoned):
                raise BrokenError([receipt])
            yield receipt

    def close(self) -> SocketCount | None:
        """Close; return what the kernel received, of a plaintext connection."""
        try:
            if self._door.context is not None:
                return None
            return SocketCount(
                group=self._door.group, received_bytes=received_bytes_of(self._socket)
            )
        finally:
            self._socket.close()

    def _ask(self, question: Question) -> Receipt:
        fields: dict[str, str] = {}
        status, head_bytes, content_bytes, awaited = 0, 0, 0, -1
        at = time.time()
        try:
            self._socket.sendall(_request_head(question))
            head, rest = self._read_head()
            status, fields = _parsed(head)
            head_bytes, content_bytes = len(head), len(rest)
            awaited = _content_length(question, status, fields)
            for count in self._read_content(question, awaited - content_bytes):
                content_bytes += count
        except OSError:
            pass  # the receipt says what is missing
        return Receipt(
            at=at,
            group=self._door.group,
            protocol="HTTP/1.1",
            is_secured=self._door.context is not None,
            method=question.method,
            target=question.target,
            status=status,
            head_bytes=head_bytes,
            content_bytes=content_bytes,
            is_complete=content_bytes == awaited,
            is_abandoned=question.abandon_after is not None and bool(status),
            entity_tag=fields.get("etag", ""),
        )

    def _read_head(self) -> tuple[bytes, bytes]:
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            piece = self._socket.recv(_PIECE_BYTES)
            if not piece or len(received) > _MAX_HEAD_BYTES:
                raise ConnectionResetError("no head came")
            received += piece
        return received[: end + 4], received[end + 4 :]

    def _read_content(self, question: Question, missing: int) -> Iterator[int]:
        wanted = missing
        if question.abandon_after is not None:
            wanted = min(missing, question.abandon_after)
        while wanted > 0:
            count = self._socket.recv_into(self._buffer, min(wanted, _PIECE_BYTES))
            if not count:
                return
            wanted -= count
            yield count


class AtOnce:
    """HTTP/2: many requests at the same time."""

    def __init__(self, door: Door) -> None:
        """Raises: OSError when there is no connection."""
        self._door = door
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self._h2 = h2.connection.H2Connection(config)
        self._socket = door.connect()
        self._open: dict[int, tuple[Question, _Arrival]] = {}

    def ask_all(self, questions: Sequence[Question]) -> Iterator[Receipt]:
        """Yield a receipt per question, as they are answered. Raises: BrokenError."""
        waiting = list(reversed(questions))
        try:
            yield from self._begin(waiting)
            while waiting or self._open:
                while waiting and len(self._open) < _STREAMS_AT_ONCE:
                    self._send(waiting.pop())
                yield from self._turn()
        except (OSError, h2.exceptions.ProtocolError) as exc:
            raise BrokenError([self._receipt(*each) for each in self._open.values()]) from exc

    def close(self) -> SocketCount | None:
        self._socket.close()
        return None

    def _begin(self, waiting: list[Question]) -> Iterator[Receipt]:
        """Begin by ALPN, or send the first question as HTTP/1.1 with an upgrade."""
        if self._open or self._h2.state_machine.state is not h2.connection.ConnectionState.IDLE:
            return
        if self._door.context is not None or not waiting:
            self._h2.initiate_connection()
        else:
            value = self._h2.initiate_upgrade_connection() or b""
            self._upgrade(waiting.pop(), value)
        self._h2.increment_flow_control_window(_WINDOW_BYTES)
        self._flush()
        yield from self._arrived(b"")

    def _upgrade(self, question: Question, settings: bytes) -> None:
        offer = {
            **question.fields,
            "Connection": "Upgrade, HTTP2-Settings",
            "Upgrade": "h2c",
            "HTTP2-Settings": settings.decode(),
        }
        self._open[1] = (question, _Arrival())
        asked = Question(method=question.method, target=question.target, fields=offer)
        self._socket.sendall(_request_head(asked))
        received = b""
        while not received.endswith(b"\r\n\r\n"):  # by the byte: frames follow at once
            piece = self._socket.recv(1)
            if not piece:
                raise ConnectionResetError("no upgrade came")
            received += piece
        if not received.startswith(b"HTTP/1.1 101 "):
            raise ConnectionResetError(f"no upgrade: {received[:40]!r}")

    def _send(self, question: Question) -> None:
        stream_id = self._h2.get_next_available_stream_id()
        scheme = "http" if self._door.context is None else "https"
        pseudo = {
            ":method": question.method,
            ":scheme": scheme,
            ":authority": "localhost",
            ":path": question.target,
        }
        fields = {name.lower(): value for name, value in question.fields.items()}
        self._h2.send_headers(stream_id, [*pseudo.items(), *fields.items()], end_stream=True)
        self._open[stream_id] = (question, _Arrival())

    def _turn(self) -> Iterator[Receipt]:
        self._flush()
        received = self._socket.recv(_PIECE_BYTES)
        if not received:
            raise ConnectionResetError("closed")
        yield from self._arrived(received)
        self._flush()

    def _arrived(self, received: bytes) -> Iterator[Receipt]:
        for event in self._h2.receive_data(received):
            match event:
                case h2.events.ResponseReceived():
                    _, arrival = self._open[event.stream_id]
                    fields = dict(event.headers)
                    arrival.status = int(fields[b":status"])
                    arrival.entity_tag = fields.get(b"etag", b"").decode()
                case h2.events.DataReceived():
                    yield from self._received(event)
                case h2.events.StreamEnded():
                    question, arrival = self._open.pop(event.stream_id)
                    arrival.is_complete = True
                    yield self._receipt(question, arrival)
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    raise ConnectionResetError("the server ends it")
                case _:
                    pass

    def _received(self, event: h2.events.DataReceived) -> Iterator[Receipt]:
        if event.stream_id not in self._open:
            return  # it was abandoned, and this was on its way
        question, arrival = self._open[event.stream_id]
        arrival.content_bytes += len(event.data)
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        limit = question.abandon_after
        if limit is not None and arrival.content_bytes >= limit:
            del self._open[event.stream_id]
            self._h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.CANCEL)
            yield self._receipt(question, arrival, is_abandoned=True)

    def _flush(self) -> None:
        if pending := self._h2.data_to_send():
            self._socket.sendall(pending)

    def _receipt(
        self, question: Question, arrival: _Arrival, *, is_abandoned: bool = False
    ) -> Receipt:
        return Receipt(
            at=arrival.at,
            group=self._door.group,
            protocol="HTTP/2",
            is_secured=self._door.context is not None,
            method=question.method,
            target=question.target,
            status=arrival.status,
            head_bytes=0,
            content_bytes=arrival.content_bytes,
            is_complete=arrival.is_complete,
            is_abandoned=is_abandoned,
            entity_tag=arrival.entity_tag,
        )


@dataclass(slots=True)
class _Arrival:
    at: float = field(default_factory=time.time)
    status: int = 0
    content_bytes: int = 0
    is_complete: bool = False
    entity_tag: str = ""


def _request_head(question: Question) -> bytes:
    lines = [f"{question.method} {question.target} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in question.fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    status_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    fields = {name.lower(): value.strip() for name, _, value in pairs}
    return int(status_line.split(" ")[1]), fields


def _content_length(question: Question, status: int, fields: Mapping[str, str]) -> int:
    if question.method == "HEAD" or status in _NO_CONTENT:
        return 0
    if "content-length" not in fields:
        raise ConnectionResetError(f"no Content-Length for {question.target}")
    return int(fields["content-length"])
