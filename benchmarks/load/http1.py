"""HTTP/1.1 as rustup speaks it: one request after the other, often a connection for each.

Rules:
1. Content is hashed and thrown away.
2. What breaks is told in the answer; nothing is asked again.
3. A response without Content-Length is refused: its end could not be told from a cut.

Units: bytes, seconds. Runs in: benchmark, both environments.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

from benchmarks.load.answers import START_BYTES, Answer, Question
from benchmarks.load.doors import Door

_PIECE_BYTES = 256 << 10
_MAX_HEAD_BYTES = 64 << 10
# What a slow reader leaves to the kernel: with more the kernel would read for it.
SLOW_RECEIVE_BYTES = 32 << 10
_SLOW_PIECE_S = 0.25
_SLOW_HEAD_BYTES = 2 << 10  # of the first read: little content comes with it


class OneByOne:
    """One connection; a context manager that closes it. `sleep` is how a slow reader waits."""

    def __init__(
        self,
        door: Door,
        *,
        keeps: bool = True,
        receive_bytes: int = 0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises: OSError when there is no connection."""
        self._door = door
        self._keeps = keeps
        self._sleep = sleep
        self._socket = door.connect(receive_bytes=receive_bytes)
        self._buffer = bytearray(_PIECE_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def ask(self, question: Question) -> Answer:
        began_at = time.monotonic()
        digest = hashlib.sha256()
        status, length, fields, start, failure = 0, 0, dict[str, str](), b"", ""
        try:
            self._socket.sendall(self._head(question))
            most_at_once = _SLOW_HEAD_BYTES if question.bytes_per_s else _PIECE_BYTES
            status, fields, rest = self._read_head(most_at_once)
            awaited = _content_length(status, fields)
            if len(rest) > awaited:
                raise ConnectionError("more content than Content-Length says")
            for piece in self._pieces(question, rest, awaited):
                is_spoiled = question.is_planted and not length
                digest.update(spoiled(piece) if is_spoiled else piece)
                start += piece[: START_BYTES - len(start)]
                length += len(piece)
        except (OSError, ValueError) as exc:
            failure = f"{type(exc).__name__}: {exc} (after {length} bytes of content)"
        return Answer(
            question=question,
            took_s=time.monotonic() - began_at,
            status=status,
            fields=fields,
            length_bytes=length,
            sha256=digest.hexdigest(),
            start=start,
            failure=failure,
        )

    def _head(self, question: Question) -> bytes:
        lines = [f"GET {question.item.target} HTTP/1.1", f"Host: {self._door.authority}"]
        lines += [f"{name}: {value}" for name, value in question.fields().items()]
        if not self._keeps:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _read_head(self, most_at_once: int) -> tuple[int, dict[str, str], bytes]:
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            piece = self._socket.recv(most_at_once)
            if not piece or len(received) > _MAX_HEAD_BYTES:
                raise ConnectionError("closed before a head came")
            received += piece
        status_line, *lines = received[:end].decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        fields = {name.lower(): value.strip() for name, _, value in pairs}
        return int(status_line.split(" ")[1]), fields, received[end + 4 :]

    def _pieces(self, question: Question, rest: bytes, awaited: int) -> Iterator[bytes]:
        if rest:
            yield rest
        missing = awaited - len(rest)
        rate = question.bytes_per_s
        most = int(rate * _SLOW_PIECE_S) if rate else _PIECE_BYTES
        while missing:
            if rate:
                self._sleep(_SLOW_PIECE_S)
            count = self._socket.recv_into(self._buffer, min(missing, most))
            if not count:
                raise ConnectionError(f"closed with {missing} bytes of content missing")
            missing -= count
            yield bytes(memoryview(self._buffer)[:count])


def ask_once(door: Door, question: Question) -> Answer:
    """Ask on a connection of its own, as rustup does for every file."""
    began_at = time.monotonic()
    receive_bytes = SLOW_RECEIVE_BYTES if question.bytes_per_s else 0
    try:
        connection = OneByOne(door, keeps=False, receive_bytes=receive_bytes)
    except OSError as exc:
        took_s = time.monotonic() - began_at
        return Answer(question=question, took_s=took_s, failure=f"no connection: {exc}")
    with connection:
        return connection.ask(question)


def spoiled(piece: bytes) -> bytes:
    """Return the piece with one bit of its first byte turned; nothing stays nothing."""
    return bytes([piece[0] ^ 1]) + piece[1:] if piece else piece


def _content_length(status: int, fields: Mapping[str, str]) -> int:
    if status in (204, 304):
        return 0
    if not fields.get("content-length", "").isdecimal():
        raise ConnectionError("no Content-Length")
    return int(fields["content-length"])
