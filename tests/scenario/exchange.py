"""HTTP/1.1 as a client sees it: whole replies, replies that break off, and bytes by hand.

Rules:
1. A reply is `is_complete` only when its framing says that nothing is missing; nothing is raised
   for one that breaks off.
2. Every socket has a deadline and is closed.

Runs in: tests.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from tests.scenario.edge import DEADLINE_S

PIECE_BYTES = 64 << 10
_STATUS_LINE = re.compile(rb"^HTTP/1\.1 ([0-9]{3}) ", re.MULTILINE)
_BROKEN = (http.client.HTTPException, OSError)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`status` 0: no head came. `sha256` and `length` are those of the content received."""

    status: int
    fields: Mapping[str, str]
    content: bytes
    sha256: str
    length: int
    is_complete: bool

    def __repr__(self) -> str:
        state = "complete" if self.is_complete else "broken off"
        return f"<Reply {self.status} {self.length} bytes {state} {self.sha256[:8]}>"

    @property
    def cache_status(self) -> str:
        return self.fields.get("cache-status", "")


class Client:
    """One keep-alive connection; `begin` and `read` give a reply piece by piece."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        self._response: http.client.HTTPResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def connect(self) -> socket.socket:
        """Open the connection, if it is not, and return its socket."""
        if self._connection.sock is None:
            self._connection.connect()
        sock = self._connection.sock
        assert isinstance(sock, socket.socket)
        return sock

    def begin(
        self, path: str, fields: Mapping[str, str] | None = None, *, method: str = "GET"
    ) -> http.client.HTTPResponse:
        """Send a request and return when its head is here."""
        self._connection.request(method, path, headers=dict(fields or {}))
        self._response = self._connection.getresponse()
        return self._response

    def fetch(
        self,
        path: str,
        fields: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        keeps_content: bool = True,
    ) -> Reply:
        """Return the reply, whatever becomes of it."""
        try:
            response = self.begin(path, fields, method=method)
        except _BROKEN:
            self._connection.close()
            return _reply(None, b"", hashlib.sha256(), 0, is_complete=False)
        pieces: list[bytes] = []
        digest, length, is_complete = hashlib.sha256(), 0, True
        try:
            while piece := response.read(PIECE_BYTES):
                digest.update(piece)
                length += len(piece)
                if keeps_content:
                    pieces.append(piece)
            # A read in pieces does not notice that announced content is missing.
            announced = response.getheader("Content-Length")
            if method != "HEAD" and announced is not None and response.status != 304:
                is_complete = length == int(announced)
        except _BROKEN:
            is_complete = False
        if not is_complete:
            self._connection.close()
        return _reply(response, b"".join(pieces), digest, length, is_complete=is_complete)


def fetch(
    port: int,
    path: str,
    fields: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    keeps_content: bool = True,
) -> Reply:
    """Ask on a connection of its own."""
    with Client(port) as client:
        return client.fetch(path, fields, method=method, keeps_content=keeps_content)


def at_once(count: int, act: Callable[[int], T]) -> list[T]:
    """Run `act(0)` … `act(count - 1)` on a thread each and return what they returned."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(act, range(count)))


def send_raw(port: int, *pieces: bytes, ends: bool = False) -> bytes:
    """Send bytes as they are and return everything that comes until the server closes.

    `ends`: shut the sending side afterwards. Raises: TimeoutError when the server does not close.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
            if ends:
                sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before everything was sent; the answer is what counts
        return read_to_end(sock)


def read_to_end(sock: socket.socket) -> bytes:
    """Return what comes until the end of the connection, in order or by reset."""
    received = b""
    try:
        while piece := sock.recv(PIECE_BYTES):
            received += piece
    except ConnectionResetError:
        pass
    return received


def statuses(received: bytes) -> list[int]:
    """Return the statuses of the replies in a byte stream whose contents end with a line end."""
    return [int(status) for status in _STATUS_LINE.findall(received)]


def digests(replies: Sequence[Reply]) -> set[tuple[int, bool, str]]:
    """Return the distinct outcomes of several replies."""
    return {(reply.status, reply.is_complete, reply.sha256) for reply in replies}


def _reply(
    response: http.client.HTTPResponse | None,
    content: bytes,
    digest: hashlib._Hash,
    length: int,
    *,
    is_complete: bool,
) -> Reply:
    names = {} if response is None else {k.lower(): v for k, v in response.getheaders()}
    return Reply(
        status=0 if response is None else response.status,
        fields=names,
        content=content,
        sha256=digest.hexdigest(),
        length=length,
        is_complete=is_complete,
    )
