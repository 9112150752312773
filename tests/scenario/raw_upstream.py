"""An upstream that speaks bytes: answers that no HTTP library would send.

Rules:
1. It serves one archive and its `.sha256`; a `Spoil` writes each answer for the archive, and is
   told the number of the request, 1 for the first. All but two spoil the first answer only.
2. What was asked is counted by request, not by connection.

Runs in: tests.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

from tests.scenario.edge import DEADLINE_S
from tests.scenario.upstream_objects import Archive


class RawUpstream:
    """Serves one archive and its `.sha256` by hand; `spoil` writes the answer for the archive."""

    def __init__(self, archive: Archive, spoil: Spoil) -> None:
        self.archive, self._spoil = archive, spoil
        self.asked: list[str] = []
        self.fired = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> RawUpstream:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def count(self) -> int:
        return sum(path == self.archive.path for path in self.asked)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._server.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
                self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE_S)
        with sock, contextlib.suppress(OSError), sock.makefile("rb") as lines:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = lines.readline()
                if not line:
                    return
                head += line
            path = head.split()[1].decode()
            self.asked.append(path)
            if path == self.archive.path:
                self.fired += 1
                self._spoil(sock, self.archive, self.fired)
            elif path == f"{self.archive.path}.sha256":
                name = self.archive.path.rpartition("/")[2]
                text = f"{self.archive.sha256}  {name}\n".encode()
                sock.sendall(_head(len(text)) + text)
            else:
                sock.sendall(b"HTTP/1.1 404 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


Spoil = Callable[[socket.socket, Archive, int], None]


def _head(length: int, *fields: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {length}", "Connection: close", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _whole(sock: socket.socket, archive: Archive) -> None:
    sock.sendall(_head(archive.length) + archive.content.read(0, archive.length))


def interim(sock: socket.socket, archive: Archive, _: int) -> None:
    sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    _whole(sock, archive)


def longer_than_announced(sock: socket.socket, archive: Archive, _: int) -> None:
    _whole(sock, archive)
    sock.sendall(b"more than was announced" * 1000)


def endless_chunk(sock: socket.socket, archive: Archive, number: int) -> None:
    """The last chunk never comes: the connection ends in the middle of the framing."""
    if number > 1:
        _whole(sock, archive)
        return
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    sock.sendall(b"%x\r\n" % archive.length + archive.content.read(0, archive.length) + b"\r\n")


def reset_in_the_body(sock: socket.socket, archive: Archive, number: int) -> None:
    if number > 1:
        _whole(sock, archive)
        return
    sock.sendall(_head(archive.length) + archive.content.read(0, archive.length // 2))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_before_the_head(sock: socket.socket, archive: Archive, number: int) -> None:
    if number > 1:
        _whole(sock, archive)
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def garbage(sock: socket.socket, archive: Archive, number: int) -> None:
    if number > 1:
        _whole(sock, archive)
        return
    sock.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


def two_lengths(sock: socket.socket, archive: Archive, number: int) -> None:
    """The mark of a smuggled response: never framed by either."""
    if number > 1:
        _whole(sock, archive)
        return
    sock.sendall(_head(archive.length, "Content-Length: 7"))
    sock.sendall(archive.content.read(0, archive.length))
