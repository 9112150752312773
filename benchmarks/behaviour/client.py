"""One request on a connection of its own, with the times of its first and last content byte.

Rules:
1. The request leaves at `begin_at`, which many clients may share; times are of one clock.
2. A cut body is a result, not an error: `is_whole` says which.

Units: seconds of the monotonic clock, bytes. Runs in: benchmark.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

DEADLINE_S = 60.0
_READ_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`first_byte_at` is of the content; 0 when none came. `promised_bytes` -1: chunked."""

    asked_at: float
    first_byte_at: float
    ended_at: float
    status: int
    content_bytes: int
    promised_bytes: int
    sha256: str

    @property
    def first_byte_ms(self) -> float:
        """From the request to the first content byte."""
        return (self.first_byte_at - self.asked_at) * 1000

    @property
    def is_whole(self) -> bool:
        return self.content_bytes == self.promised_bytes


def ask(base: str, target: str, *, begin_at: float = 0.0, fields: Sequence[str] = ()) -> Answer:
    """Send one GET and read its answer to the end. Raises OSError when nothing answers."""
    host = base.removeprefix("http://")
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
    name, _, port = host.rpartition(":")
    with socket.create_connection((name, int(port)), timeout=DEADLINE_S) as connection:
        time.sleep(max(0.0, begin_at - time.monotonic()))
        asked_at = time.monotonic()
        connection.sendall("\r\n".join(lines).encode())
        return _read(connection, asked_at)


def ask_all(base: str, target: str, begin_at: Sequence[float]) -> list[Answer]:
    """Ask once for each time of `begin_at`, on connections that stand before; in that order."""
    answers: dict[int, Answer] = {}

    def run(number: int, at: float) -> None:
        answers[number] = ask(base, target, begin_at=at)

    threads = [threading.Thread(target=run, args=item) for item in enumerate(begin_at)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[number] for number in range(len(threads))]


def _read(connection: socket.socket, asked_at: float) -> Answer:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(_READ_BYTES)
        if not piece:
            raise ConnectionResetError("closed before the head")
        head += piece
    head, _, content = head.partition(b"\r\n\r\n")
    first_byte_at = time.monotonic() if content else 0.0
    digest, total = hashlib.sha256(content), len(content)
    promised = _content_length(head)
    while total != promised:
        try:
            piece = connection.recv(_READ_BYTES)
        except OSError:
            break
        if not piece:
            break
        first_byte_at = first_byte_at or time.monotonic()
        digest.update(piece)
        total += len(piece)
    return Answer(
        asked_at=asked_at,
        first_byte_at=first_byte_at,
        ended_at=time.monotonic(),
        status=int(head.split(b" ", 2)[1]),
        content_bytes=total,
        promised_bytes=promised,
        sha256=digest.hexdigest(),
    )


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return -1
