"""Rendering of response heads.

Rules:
1. Every response carries Date and Via; every one that selects a representation carries its
   validators, Age and Cache-Status.
2. A field value made from outside input never reaches a head: values come from the store, which
   checked them, or from constants.
3. `Connection` is written only when it says something that the version does not imply.
4. A `Head` is the same for HTTP/1.1 and HTTP/2; what carries it adds what only it knows.

Runs in: worker. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REASONS: Final = {
    200: b"OK",
    206: b"Partial Content",
    301: b"Moved Permanently",
    304: b"Not Modified",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    412: b"Precondition Failed",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    508: b"Loop Detected",
}
_STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, reason) for status, reason in REASONS.items()
}
CACHE_NAME: Final = "rust-mirror"  # in Cache-Status and Via
VIA_LINE: Final = b"Via: 1.1 rust-mirror\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A response head without what depends on the protocol that carries it.

    `lines`: complete field lines, Date and Via among them, neither Connection nor
    Transfer-Encoding.
    """

    status: int
    lines: bytes


def make_head(status: int, date: bytes, lines: bytes) -> Head:
    """Return the head of a response; `lines` are complete field lines but Date and Via."""
    return Head(status=status, lines=date_line(date) + lines + VIA_LINE)


def render_head(head: Head, connection: bytes = b"") -> bytes:
    """Return the head of an HTTP/1.1 response, its empty line included.

    `connection`: complete field lines about this connection or the coding of its messages.
    """
    return b"%b%b%b\r\n" % (_STATUS_LINES[head.status], head.lines, connection)


def date_line(date: bytes) -> bytes:
    return b"Date: %b\r\n" % date


def join_head(status: int, lines: tuple[bytes, ...]) -> bytes:
    """As `render_head`, of all field lines in their order (measured: 0.3 us instead of 1.6)."""
    return b"".join((_STATUS_LINES[status], *lines, b"\r\n"))


def connection_line(*, keep_alive: bool, is_http10: bool) -> bytes:
    """Return the Connection field line, or nothing where the version says it already."""
    if not keep_alive:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if is_http10 else b""
