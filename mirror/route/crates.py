"""The grammar of crate downloads.

Rules:
1. Five spellings name one object and give one key: `/crates/{name}/{name}-{version}.crate`,
   `/crates/{name}/{version}/download`, both with `{sha256-checksum}` as a directory of their last
   component, and `/api/v1/crates/…` for clients that were configured for the API.
2. The digest in a path is the client's claim: it goes into `Route.claim`, never into the key.
3. Names are those of crates.io: ASCII letters, digits, "-" and "_", a letter first, at most 64.
   They keep their case, and "-" and "_" are different. Versions are semantic versions, at most
   128 characters; "+" is raw.

Runs in: both. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mirror.route.route import ContentClass, Kind, Route, Tempo, UpstreamName


@dataclass(frozen=True, slots=True, kw_only=True)
class CrateName:
    """One version of one crate; `name` as published, in its own case."""

    name: str
    version: str


NAME_PATTERN: Final = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
_VERSION_LIMIT: Final = 128
_NUMBER = r"(?:0|[1-9][0-9]*)"
_LABELS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_LABELS})?(?:\+{_LABELS})?"
_CLAIM = r"[0-9a-f]{64}"

_FILE: Final = re.compile(
    rf"/crates/(?P<name>{NAME_PATTERN})/(?:(?P<claim>{_CLAIM})/)?(?P=name)-(?P<version>{_VERSION})"
    r"\.crate"
)
_DOWNLOAD: Final = re.compile(
    rf"/crates/(?P<name>{NAME_PATTERN})/(?P<version>{_VERSION})/(?:(?P<claim>{_CLAIM})/)?download"
)
_CANONICAL: Final = re.compile(
    rf"/crates/(?P<name>{NAME_PATTERN})/(?P=name)-(?P<version>{_VERSION})\.crate"
)
_NAME: Final = re.compile(NAME_PATTERN)
_WHOLE_VERSION: Final = re.compile(_VERSION)
_API_PREFIX: Final = "/api/v1"


def match_crate(path: str) -> Route | None:
    """The route of a canonical path under `/crates/`, or None when it is not in the grammar."""
    found = _FILE.fullmatch(path) or _DOWNLOAD.fullmatch(path)
    if found is None:
        return None
    return _crate(found["name"], found["version"], found["claim"] or "")


def match_api(path: str) -> Route | None:
    """As `match_crate`, for `/api/v1/crates/…`; the rest of the API is not mirrored."""
    return match_crate(path.removeprefix(_API_PREFIX)) if path.startswith(_API_PREFIX) else None


def crate_route(name: str, version: str) -> Route | None:
    """The route of one version as an index line states it; None when the names are impossible."""
    if not _NAME.fullmatch(name) or not _WHOLE_VERSION.fullmatch(version):
        return None
    return _crate(name, version, "")


def crate_of(route: Route) -> CrateName | None:
    """The crate and version of a crate's route; None for every other kind."""
    found = _CANONICAL.fullmatch(route.path)
    if found is None:
        return None
    return CrateName(name=found["name"], version=found["version"])


def _crate(name: str, version: str, claim: str) -> Route | None:
    if len(version) > _VERSION_LIMIT:
        return None
    path = f"/crates/{name}/{name}-{version}.crate"
    return Route(
        key="crates:" + path,
        kind=Kind.CRATE,
        upstream=UpstreamName.CRATES,
        path=path,
        tempo=Tempo.FOREVER,
        content_class=ContentClass.CRATE,
        # gzip is the type, never a Content-Encoding: curl would unpack it and the cksum would fail.
        media_type="application/gzip",
        claim=bytes.fromhex(claim),
    )
