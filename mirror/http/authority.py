"""The authority of a target URI or a Host field: RFC 3986 section 3.2, without userinfo.

Rules:
1. A host is a DNS name, an IPv4 address or a bracketed IPv6 address, nothing else. The generic
   `reg-name` also allows percent-encoding and punctuation, which no name in the DNS has and which
   would reach generated URLs (`config.json`, the front page).
2. The host comes out in one spelling: lower case, no dot at the end, IPv6 compressed in brackets.
3. A last label of digits only makes the host an IPv4 address, so `1.2.3` or `010.0.0.1` are refused
   rather than read in the different ways of different resolvers.

Runs in: both. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

_NAME_LIMIT: Final = 253  # RFC 1035, section 2.3.4, in text form
# "_" is no host name character, but container and test networks use it.
_LABEL = rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS_NAME: Final = re.compile(_LABEL + rb"(?:\." + _LABEL + rb")*")
_NUMERIC_END: Final = re.compile(rb"(?:.*\.)?[0-9]+", re.DOTALL)
_SPLIT: Final = re.compile(rb"(\[[0-9a-f:.]{2,45}\]|[a-z0-9_.-]{1,254})(?::([0-9]{0,5}))?")
_LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """`host` is canonical and, for IPv6, in brackets; `port` is None when none was written."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


def parse_authority(raw: bytes) -> Authority | None:
    """Read `host [":" port]`; None when it is anything else. An empty port counts as none."""
    found = _SPLIT.fullmatch(raw.lower())
    if found is None:
        return None
    port = int(found[2]) if found[2] else None
    if port is not None and not 1 <= port <= _LAST_PORT:
        return None
    host = _canonical_host(found[1])
    return None if host is None else Authority(host=host, port=port)


def _canonical_host(raw: bytes) -> str | None:
    if raw.startswith(b"["):
        return _canonical_ipv6(raw[1:-1].decode("ascii"))
    name = raw.removesuffix(b".")
    if _NUMERIC_END.fullmatch(name):
        return _canonical_ipv4(name.decode("ascii"))
    if len(name) > _NAME_LIMIT or not _DNS_NAME.fullmatch(name):
        return None
    return name.decode("ascii")


def _canonical_ipv6(text: str) -> str | None:
    try:
        return f"[{ipaddress.IPv6Address(text)}]"
    except ValueError:
        return None


def _canonical_ipv4(text: str) -> str | None:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return None
