"""The PROXY protocol, versions 1 and 2: who the client behind a load balancer is.

Rules:
1. The header is the first thing on the connection and complete within `MAX_HEADER_BYTES`.
2. Anything else than a well-formed header is `Malformed`; the connection is closed, never guessed.
3. LOCAL and UNKNOWN keep the socket's own address (health checks of the balancer itself).
4. TLVs of version 2 are skipped.

Does not: decide whom to believe (`client_address.TrustedProxies`).
Runs in: worker. Pure.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import Final

_V1_START: Final = b"PROXY "
_V1_LIMIT: Final = 107  # the specification's worst case, CRLF included
_V1: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]{3,39}) ([0-9A-Fa-f.:]{3,39})"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
)
_V2_START: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD: Final = struct.Struct("!12sBBH")
_V2_LIMIT: Final = 2048  # the balancers known send under 200 bytes of TLVs
_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}  # TCP over IPv4, IPv6
MAX_HEADER_BYTES: Final = _V2_HEAD.size + _V2_LIMIT


@dataclass(frozen=True, slots=True)
class Incomplete:
    """More bytes are needed."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Not a PROXY header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxied:
    """`address` is None where the header names nobody; the request begins at `consumed`."""

    address: str | None
    consumed: int


Parsed = Incomplete | Malformed | Proxied


def parse_proxy_header(received: bytes) -> Parsed:
    """Read the header at the start of a connection."""
    if received.startswith(_V2_START):
        return _parse_v2(received)
    if received.startswith(_V1_START):
        return _parse_v1(received)
    could_begin = _V2_START.startswith(received) or _V1_START.startswith(received)
    return Incomplete() if could_begin else Malformed()


def _parse_v1(received: bytes) -> Parsed:
    end = received.find(b"\r\n", 0, _V1_LIMIT)
    if end < 0:
        return Incomplete() if len(received) < _V1_LIMIT else Malformed()
    line = received[:end]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return Proxied(address=None, consumed=end + 2)
    found = _V1.fullmatch(line)
    if found is None or int(found[4]) > 65535 or int(found[5]) > 65535:
        return Malformed()
    version = 4 if found[1] == b"TCP4" else 6
    try:
        source = ipaddress.ip_address(found[2].decode())
        destination = ipaddress.ip_address(found[3].decode())
    except ValueError:
        return Malformed()
    if source.version != version or destination.version != version:
        return Malformed()
    return Proxied(address=str(source), consumed=end + 2)


def _parse_v2(received: bytes) -> Parsed:
    if len(received) < _V2_HEAD.size:
        return Incomplete()
    _, command, family, length = _V2_HEAD.unpack_from(received)
    if command not in (0x20, 0x21) or length > _V2_LIMIT:
        return Malformed()
    end = _V2_HEAD.size + length
    if len(received) < end:
        return Incomplete()
    if command == 0x20 or family == 0x00:
        return Proxied(address=None, consumed=end)
    size = _ADDRESS_BYTES.get(family)
    if size is None or length < 2 * size + 4:
        return Malformed()
    packed = received[_V2_HEAD.size : _V2_HEAD.size + size]
    return Proxied(address=str(ipaddress.ip_address(packed)), consumed=end)
