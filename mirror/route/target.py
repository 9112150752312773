"""The form of a request target: RFC 9112 section 3.2.

Rules:
1. Origin form is taken as it stands; `route.match` judges its path.
2. Absolute form is taken for http and https without userinfo. Its authority replaces Host (section
   3.2.2); whether it names this server is the caller's to decide.
3. Asterisk form and authority form have no use here (no OPTIONS, no CONNECT): 400.

Does not decode, collapse or resolve anything.

Runs in: worker. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mirror.http.authority import Authority, parse_authority
from mirror.route.route import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginForm:
    """`path` begins with "/" and carries the query, if there is one."""

    path: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsoluteForm:
    """`scheme` is "http" or "https"; `path` as in `OriginForm`."""

    scheme: str
    authority: Authority
    path: bytes


# The authority ends at the first of these; a backslash does not end it (browsers think so, and a
# host check that disagrees with the reader of the host is a hole), it makes it malformed.
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_SCHEMES: Final = {b"http": "http", b"https": "https"}

_NO_FORM: Final = Refusal(
    status=400, reason="The request target is neither a path nor an absolute URL.", close=True
)
_SCHEME: Final = Refusal(
    status=400, reason="The scheme of the request target is neither http nor https.", close=True
)
_USERINFO: Final = Refusal(
    status=400, reason="A user name in the request target is not accepted.", close=True
)
_AUTHORITY: Final = Refusal(
    status=400, reason="The authority of the request target is not a host and port.", close=True
)


def split_target(raw: bytes) -> OriginForm | AbsoluteForm | Refusal:
    """Tell the form of `raw` and split an absolute form."""
    if raw[:1] == b"/":
        return OriginForm(path=raw)
    found = _ABSOLUTE.fullmatch(raw)
    if found is None:
        return _NO_FORM
    scheme = _SCHEMES.get(found[1].lower())
    if scheme is None:
        return _SCHEME
    if b"@" in found[2]:
        return _USERINFO
    authority = parse_authority(found[2])
    if authority is None:
        return _AUTHORITY
    rest = found[3]
    path = rest if rest.startswith(b"/") else b"/" + rest
    return AbsoluteForm(scheme=scheme, authority=authority, path=path)
