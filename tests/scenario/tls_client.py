"""A TLS client by hand: handshakes, sessions, and requests on a connection of its own.

Rules:
1. Every socket has a deadline.
2. An end of the connection without close_notify is an error (`ssl.SSLEOFError`), never an end of
   content.

Runs in: tests.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.scenario.edge import DEADLINE_S

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@contextmanager
def connected(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    """Shake hands; the connection is closed on the way out."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as plain,
        context.wrap_socket(
            plain, server_hostname="localhost", session=session, suppress_ragged_eofs=False
        ) as secured,
    ):
        yield secured


def ask(secured: ssl.SSLSocket, path: str) -> tuple[int, bytes]:
    """Send a request and return status and content; what TLS 1.3 sends beside it is read too."""
    secured.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, content = _until(secured, b"\r\n\r\n").partition(b"\r\n\r\n")
    found = _LENGTH.search(head + b"\r\n")
    assert found is not None, head
    while len(content) < int(found[1]):
        piece = secured.recv(1 << 20)
        assert piece, "the content ends before it is complete"
        content += piece
    return int(head.split(b" ")[1]), content


def get(port: int, context: ssl.SSLContext, path: str) -> tuple[int, bytes]:
    """As `ask`, on a connection of its own."""
    with connected(port, context) as secured:
        return ask(secured, path)


def shown_serial(port: int, context: ssl.SSLContext) -> str:
    """Return the serial number of the certificate that the server shows."""
    with connected(port, context) as secured:
        certificate = secured.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def _until(secured: ssl.SSLSocket, mark: bytes) -> bytes:
    received = b""
    while mark not in received:
        piece = secured.recv(1 << 16)
        assert piece, f"closed after {received!r}"
        received += piece
    return received
