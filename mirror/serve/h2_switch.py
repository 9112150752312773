"""How a connection becomes HTTP/2: what its handshake, its first bytes or an Upgrade say.

Rules:
1. Prior knowledge (RFC 9113 section 3.3): the connection begins with the client's preface. Its
   first bytes may be those of an HTTP/1.1 method, so a part of it decides nothing.
2. `Upgrade: h2c` (RFC 7540 section 3.2, which RFC 9113 no longer describes and cargo's libcurl
   still sends with every plaintext request): exactly one HTTP2-Settings field whose value is
   base64url of whole settings, and both named in Connection. Everything else is no upgrade, and is
   ignored, as RFC 9110 section 7.8 lets a server do.

Does not: know methods, content, or TLS (an upgrade there is ignored by who asks).
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from typing import Final

from mirror.http.h2_errors import H2ConnectionError
from mirror.http.h2_frames import PREFACE
from mirror.http.h2_settings import LINE_BYTES, parse_settings

SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
)
# cargo sends 3 settings in 24 characters; 16 are more than are defined.
_MAX_SETTINGS: Final = 16
_MAX_DIGITS: Final = _MAX_SETTINGS * LINE_BYTES * 4 // 3
_BASE64URL: Final = re.compile(rb"[A-Za-z0-9_-]*={0,2}")


def begins_preface(received: bytes) -> bool:
    """Whether a connection that began with `received` may be one of HTTP/2."""
    return received[: len(PREFACE)] == PREFACE[: len(received)]


def is_preface(received: bytes) -> bool:
    """Whether it is one."""
    return received.startswith(PREFACE)


def has_negotiated(transport: asyncio.BaseTransport) -> bool:
    """Whether client and server have agreed on HTTP/2 in their TLS handshake (ALPN)."""
    tls = transport.get_extra_info("ssl_object")
    return tls is not None and tls.selected_alpn_protocol() == "h2"


def settings_of_upgrade(fields: Mapping[bytes, bytes], connection: bytes) -> bytes | None:
    """Return the SETTINGS payload of an upgrade that may be taken, else None.

    `fields` are values by lower-case name, `connection` is the lower-case value of Connection.
    """
    if fields.get(b"upgrade", b"").lower() != b"h2c":
        return None
    options = {option.strip(b" \t") for option in connection.split(b",")}
    if not {b"upgrade", b"http2-settings"} <= options or b"close" in options:
        return None
    return _decode(fields.get(b"http2-settings"))


def _decode(value: bytes | None) -> bytes | None:
    """The payload; a second field line shows as a comma, which is not of the alphabet."""
    if value is None or _BASE64URL.fullmatch(value) is None:
        return None
    digits = value.rstrip(b"=")
    if len(digits) % 4 == 1 or len(digits) > _MAX_DIGITS:
        return None
    payload = base64.urlsafe_b64decode(digits + b"=" * (-len(digits) % 4))
    try:
        parse_settings(payload, _MAX_SETTINGS)
    except H2ConnectionError:
        return None
    return payload
