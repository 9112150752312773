"""Validation of the fields of a request that came by HTTP/2 (RFC 9113 sections 8.2 and 8.3).

Rules:
1. Anything that HTTP/1.1 could not carry, or would frame or route differently, is malformed: the
   stream is reset. A 400 would confirm to an attacker which half of a smuggling attempt worked.
2. Stricter than section 8.2.1 asks: names are tokens, values hold no control character but a tab
   inside, `:path` is visible ASCII. That is what the HTTP/1.1 side accepts.
3. Several lines of one name are joined by ", ", those of cookie by "; " (section 8.2.3).
4. Host and content-length come once.

Does not: decompress, or say whether the target or the method is one that is answered.
Runs in: worker. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mirror.errors import RequestError
from mirror.http.authority import parse_authority

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_SPACES: Final = frozenset((b" ", b"\t"))
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]{0,31}")
_PATH: Final = re.compile(rb"\*|/[\x21-\x7e]*")
# RFC 3986 section 3.2 without userinfo, which section 8.3.1 forbids; no space, no control.
_AUTHORITY: Final = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:%\[\]]+")
# 19 digits: more than 2^62, and int() stays cheap.
_LENGTH: Final = re.compile(rb"[0-9]{1,19}")
_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path"))
# Section 8.2.2; in responses they are left out.
OF_CONNECTIONS: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_ONCE: Final = frozenset((b"host", b"content-length"))
_DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}


class MalformedError(RequestError):
    """The message is malformed (section 8.1.1): its stream is reset with PROTOCOL_ERROR."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, reason, close=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFields:
    """A valid request without its content.

    `authority` is `:authority`, else Host; None only for schemes without one. `scheme` and `path`
    are empty for CONNECT. `fields`: values by lower-case name. `content_bytes`: what
    Content-Length says, or -1.
    """

    method: bytes
    scheme: bytes
    authority: bytes | None
    path: bytes
    fields: dict[bytes, bytes]
    content_bytes: int = -1


def request_fields(lines: Iterable[tuple[bytes, bytes]]) -> RequestFields:
    """Return the request that the decoded field lines make. Raises: MalformedError."""
    pseudo: dict[bytes, bytes] = {}
    fields: dict[bytes, bytes] = {}
    for name, value in lines:
        if name[:1] == b":":
            _add_pseudo(pseudo, name, value, is_late=bool(fields))
        else:
            _add_field(fields, name, value)
    method = pseudo.get(b":method", b"")
    if not _METHOD.fullmatch(method):
        raise MalformedError("The method is missing or not valid.")
    content_bytes = _content_bytes(fields)
    if method == b"CONNECT":
        return _connect(pseudo, fields, content_bytes)
    scheme, path = pseudo.get(b":scheme", b""), pseudo.get(b":path", b"")
    if not _SCHEME.fullmatch(scheme):
        raise MalformedError("The scheme is missing or not valid.")
    if not _PATH.fullmatch(path):
        raise MalformedError("The path is missing or not valid.")
    return RequestFields(
        method=method,
        scheme=scheme,
        authority=_authority(pseudo, fields, scheme.lower()),
        path=path,
        fields=fields,
        content_bytes=content_bytes,
    )


def check_trailers(lines: Iterable[tuple[bytes, bytes]]) -> None:
    """Validate fields that came after content; they are dropped. Raises: MalformedError."""
    fields: dict[bytes, bytes] = {}
    for name, value in lines:
        if name[:1] == b":":
            raise MalformedError("A pseudo-header field came after the content.")
        _add_field(fields, name, value)


def _add_pseudo(pseudo: dict[bytes, bytes], name: bytes, value: bytes, *, is_late: bool) -> None:
    if is_late:
        raise MalformedError("A pseudo-header field came after a regular one.")
    if name not in _PSEUDO:
        raise MalformedError("A pseudo-header field is not known.")
    if name in pseudo:
        raise MalformedError("A pseudo-header field came twice.")
    pseudo[name] = value


def _add_field(fields: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise MalformedError("A field name is not valid.")
    if not _VALUE.fullmatch(value) or value[:1] in _SPACES or value[-1:] in _SPACES:
        raise MalformedError("A field value is not valid.")
    if name in OF_CONNECTIONS or (name == b"te" and value.lower() != b"trailers"):
        raise MalformedError("A field about connections has no place in HTTP/2.")
    earlier = fields.get(name)
    if earlier is None:
        fields[name] = value
    elif name in _ONCE:
        raise MalformedError("A field that comes once came twice.")
    else:
        fields[name] = (b"%b; %b" if name == b"cookie" else b"%b, %b") % (earlier, value)


def _content_bytes(fields: dict[bytes, bytes]) -> int:
    value = fields.get(b"content-length")
    if value is None:
        return -1
    if not _LENGTH.fullmatch(value):
        raise MalformedError("The content length is not valid.")
    return int(value)


def _connect(
    pseudo: dict[bytes, bytes], fields: dict[bytes, bytes], content_bytes: int
) -> RequestFields:
    """Section 8.5; no extended CONNECT (RFC 8441), because this server does not announce it."""
    if b":scheme" in pseudo or b":path" in pseudo or b":authority" not in pseudo:
        raise MalformedError("A CONNECT request is not valid.")
    return RequestFields(
        method=b"CONNECT",
        scheme=b"",
        authority=_authority(pseudo, fields, b""),
        path=b"",
        fields=fields,
        content_bytes=content_bytes,
    )


def _authority(
    pseudo: dict[bytes, bytes], fields: dict[bytes, bytes], scheme: bytes
) -> bytes | None:
    authority, host = pseudo.get(b":authority"), fields.get(b"host")
    for value in (authority, host):
        if value is not None and not _AUTHORITY.fullmatch(value):
            raise MalformedError("The authority is not valid.")
    if authority is None and host is None and scheme in _DEFAULT_PORTS:
        raise MalformedError("The authority is missing.")
    if authority is None or host is None:
        return authority or host
    if authority != host and not _is_same(authority, host, _DEFAULT_PORTS.get(scheme)):
        raise MalformedError("Host names something else than the authority.")
    return authority


def _is_same(authority: bytes, host: bytes, default_port: int | None) -> bool:
    """Whether both name one entity, however they spell it."""
    first, second = parse_authority(authority), parse_authority(host)
    if first is None or second is None:
        return False
    return (first.host, first.port or default_port) == (second.host, second.port or default_port)
