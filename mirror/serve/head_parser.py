"""The strict reading of one request head.

Rules:
1. The caller cuts the byte stream at the first empty line; httptools must find exactly one message
   in exactly those bytes, else the head is refused and the connection closed. So no byte that the
   parser saw as content can be taken for the next request.
2. httptools does not look at Host: RFC 9112 section 3.2 is kept here (one, valid).
3. What the fields mean, whatever protocol brought them, is `request_fields`.
4. Of every `Upgrade` but a right one to h2c (`h2_switch`) nothing comes out (RFC 9110 section 7.8
   lets a server ignore them); each head gets its own parser, because httptools stops at an upgrade.
5. Refusals say nothing that the client sent.

Does not: route, or read the socket.
Runs in: worker.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import httptools

from mirror.errors import RequestError
from mirror.http.authority import Authority, parse_authority
from mirror.serve.h2_switch import settings_of_upgrade
from mirror.serve.request import Request
from mirror.serve.request_fields import request_of

# RFC 9112 section 3, stricter: one space, no obsolete HTTP/0.9 form, visible ASCII target.
REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])"
)
_KNOWN_METHODS: Final = frozenset(b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split())
# A head of 16 KiB could hold thousands of lines; cargo sends 9, browsers about 20.
MAX_FIELD_LINES: Final = 100

# What cargo sends on every plaintext request; ignoring exactly this is part of a learned head.
_H2C_CONNECTION: Final = b"upgrade, http2-settings"


class _Collector:
    """httptools callbacks: the field lines, and how many messages ended."""

    __slots__ = ("fields", "messages", "target")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.messages = 0
        self.target = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))

    def on_message_complete(self) -> None:
        self.messages += 1


def parse_head(head: bytes, *, max_target_bytes: int) -> Request:
    """Return the request in `head`, which ends with the first empty line.

    Raises: RequestError for everything else; `close` is always set, because after a refused head
    nothing says where the next one begins.
    """
    method, target, is_http10 = _request_line(head, max_target_bytes)
    fields = read_fields(head, target)
    authority = _host(fields, is_http10)
    request = request_of(method, target, fields, authority)
    connection = fields.get(b"connection", b"").lower()
    return replace(
        request,
        is_http10=is_http10,
        is_plain=request.is_plain and not is_http10 and _connection_is_plain(fields, connection),
        keep_alive=_keep_alive(connection, is_http10),
        h2_settings=None if is_http10 else settings_of_upgrade(fields, connection),
    )


def _request_line(head: bytes, max_target_bytes: int) -> tuple[bytes, bytes, bool]:
    """Method, target, is HTTP/1.0."""
    line = head[: head.find(b"\r\n")]
    match = REQUEST_LINE.fullmatch(line)
    if match is None:
        raise RequestError(400, "The request line is not valid.")
    method, target, major, minor = match.groups()
    if len(target) > max_target_bytes:
        raise RequestError(414, "The request target is too long.")
    if major != b"1" or minor not in (b"0", b"1"):
        raise RequestError(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if method not in _KNOWN_METHODS:
        raise RequestError(501, "This method is not known here.")
    return method, target, minor == b"0"


def read_fields(head: bytes, target: bytes) -> dict[bytes, bytes]:
    """Return field values by lower-case name, several lines joined by ", " (RFC 9110 section 5.3).

    `target`: as the request line was read. Raises: RequestError.
    """
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade as stopped:
        # The offset is where the head ends only when no content followed; content is not
        # consumed by the parser and would otherwise be read as a request (smuggling).
        if stopped.args[0] != len(head):
            raise RequestError(400, "Request content is not accepted.") from stopped
    except httptools.HttpParserError as exc:
        raise RequestError(400, "The request head is not valid.") from exc
    if len(collector.fields) > MAX_FIELD_LINES:
        raise RequestError(431, "The request has too many field lines.")
    fields: dict[bytes, bytes] = {}
    for name, value in collector.fields:
        if name in fields:
            if name == b"host":
                raise RequestError(400, "The request names two hosts.")
            fields[name] += b", " + value
        else:
            fields[name] = value
    # Rule 1; a head with content is told so, because the parser waits for that content.
    if collector.messages != 1 and not fields.keys() & {b"content-length", b"transfer-encoding"}:
        raise RequestError(400, "The request head is not valid.")
    if collector.target != target:
        raise RequestError(400, "The request target is not valid.")
    return fields


def _host(fields: dict[bytes, bytes], is_http10: bool) -> Authority | None:
    raw = fields.get(b"host")
    if raw is None:
        if is_http10:
            return None
        raise RequestError(400, "The Host field is missing.")
    authority = parse_authority(raw)
    if authority is None:
        raise RequestError(400, "The Host field is not valid.")
    return authority


def _keep_alive(connection: bytes, is_http10: bool) -> bool:
    if not connection:
        return not is_http10
    options = {option.strip(b" \t") for option in connection.split(b",")}
    if b"close" in options:
        return False
    return not is_http10 or b"keep-alive" in options


def _connection_is_plain(fields: dict[bytes, bytes], connection: bytes) -> bool:
    """No connection option, one of keep-alive and close alone, or the exact h2c upgrade that is
    ignored."""
    if b"upgrade" in fields or b"http2-settings" in fields:
        return connection == _H2C_CONNECTION and fields.get(b"upgrade") == b"h2c"
    return connection in (b"", b"keep-alive", b"close")
