"""A raw request target becomes a route, an answer made here, or a refusal.

Rules:
1. The grammar is an allow-list on the raw bytes; nothing is decoded but `%2B`, which is `+`.
2. Runs of "/" are one "/": a RUSTUP_DIST_SERVER with a slash at its end gives `//dist/…`.
3. Bytes that no object's name has are refused with 400, and the connection ends where they smell of
   an attack on whoever decodes next: dot segments, escapes, backslashes, control and other odd
   bytes. A query is 400 too, but only a mistake. What is well-formed and names nothing is 404.
4. Two accepted targets have one key only if they name the same canonical path.

Cost: 2-5 µs; the grammars are one regular expression each, compiled at import, linear in time.

Runs in: both. Pure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from typing import Final

from mirror.route.crates import match_api, match_crate
from mirror.route.dist import match_dist, match_single
from mirror.route.route import Local, LocalRoute, Refusal, Route
from mirror.route.rustup import match_rustup
from mirror.route.sparse_index import match_index


class Site(enum.Enum):
    """Which name tree a request means: this mirror's own, or that of one upstream host."""

    ANY = "any"
    RELEASES = "releases"
    CRATES = "crates"
    INDEX = "index"


_Grammar = Callable[[str], Route | None]
Matched = Route | LocalRoute | Refusal

_HOSTS: Final = {
    "static.rust-lang.org": Site.RELEASES,
    "static.crates.io": Site.CRATES,
    "index.crates.io": Site.INDEX,
}

_SITES_OF_KEYS: Final = {site.value: site for site in _HOSTS.values()}

_LONGEST_PATH: Final = 512  # characters; the longest crate path has 330
# Everything that a URI's path may hold unescaped (RFC 3986 pchar and "/"), without "%".
_PATH: Final = re.compile(rb"/[A-Za-z0-9/._~!$&'()*+,;=:@-]*")
_QUERY_BYTES: Final = re.compile(rb"[A-Za-z0-9/?._~!$&'()*+,;=:@%-]*")
_PLUS: Final = re.compile(rb"%2[Bb]")
_SLASHES: Final = re.compile(rb"//+")
_DOT_SEGMENT: Final = re.compile(rb"/\.\.?(?:/|\Z)")


def _refused(reason: str) -> Refusal:
    return Refusal(status=400, reason=reason, close=True)


_NOT_A_PATH: Final = _refused("The request target is not a path.")
_ESCAPE: Final = _refused("Percent-encoding is not accepted, except %2B.")
_DOTS: Final = _refused("A path with dot segments is not accepted.")
_ODD_BYTE: Final = _refused("The path holds a character that no URL path may hold.")
_QUERY: Final = Refusal(status=400, reason="A query is not accepted.")
_UNKNOWN: Final = Refusal(status=404, reason="Nothing is mirrored under this path.")

_LOCAL: Final[Mapping[str, LocalRoute]] = {
    "/": LocalRoute(local=Local.FRONT_PAGE),
    "/livez": LocalRoute(local=Local.LIVEZ),
    "/readyz": LocalRoute(local=Local.READYZ),
    "/robots.txt": LocalRoute(local=Local.ROBOTS),
}
_RUSTUP_SH: Final = {"/rustup.sh": LocalRoute(local=Local.RUSTUP_SH)}
_INDEX_CONFIG: Final = LocalRoute(local=Local.INDEX_CONFIG)
_LOCAL_ROUTES: Final[Mapping[Site, Mapping[str, LocalRoute]]] = {
    Site.ANY: {
        **_LOCAL,
        **_RUSTUP_SH,
        "/index/config.json": _INDEX_CONFIG,
        "/crates.io-index/config.json": _INDEX_CONFIG,
    },
    Site.RELEASES: {**_LOCAL, **_RUSTUP_SH},
    Site.CRATES: _LOCAL,
    Site.INDEX: {**_LOCAL, "/config.json": _INDEX_CONFIG},
}


def _match_prefixed_index(path: str) -> Route | None:
    return match_index("/" + path[1:].partition("/")[2])


_RELEASE_GRAMMARS: Final[Mapping[str, _Grammar]] = {
    "dist": match_dist,
    "rustup": match_rustup,
    "manifests.txt": match_single,
    "rust-key.gpg.ascii": match_single,
}
_CRATE_GRAMMARS: Final[Mapping[str, _Grammar]] = {"crates": match_crate, "api": match_api}
# By the first segment; the registry's root has no segment of its own on its own host.
_GRAMMARS: Final[Mapping[Site, Mapping[str, _Grammar]]] = {
    Site.ANY: {
        **_RELEASE_GRAMMARS,
        **_CRATE_GRAMMARS,
        "index": _match_prefixed_index,
        "crates.io-index": _match_prefixed_index,
    },
    Site.RELEASES: _RELEASE_GRAMMARS,
    Site.CRATES: _CRATE_GRAMMARS,
}


def site_of_host(host: str) -> Site:
    """The site that a host (lower case, without port) stands for."""
    return _HOSTS.get(host, Site.ANY)


def match(raw_target: bytes, site: Site) -> Matched:
    """Match an origin-form target, as received, against the grammars of `site`."""
    raw = _canonical(raw_target)
    if _PATH.fullmatch(raw) is None or _DOT_SEGMENT.search(raw) is not None:
        return _why_refused(raw)
    path = raw.decode("ascii")
    if len(path) > _LONGEST_PATH:
        return _UNKNOWN
    local = _LOCAL_ROUTES[site].get(path)
    return local if local is not None else _match_grammar(path, site) or _UNKNOWN


def route_of_key(key: str) -> Route | None:
    """The inverse of `Route.key`: None for whatever is not exactly the key of a route."""
    upstream, _, path = key.partition(":")
    site = _SITES_OF_KEYS.get(upstream)
    if site is None or not path.isascii():
        return None
    route = match(path.encode("ascii"), site)
    # A path with a second spelling matches, but under another key: that is not a key.
    return route if isinstance(route, Route) and route.key == key else None


def _canonical(raw: bytes) -> bytes:
    if b"%" in raw:
        raw = _PLUS.sub(b"+", raw)
    return _SLASHES.sub(b"/", raw) if b"//" in raw else raw


def _match_grammar(path: str, site: Site) -> Route | None:
    if site is Site.INDEX:
        return match_index(path)
    end = path.find("/", 1)
    grammar = _GRAMMARS[site].get(path[1:end] if end > 0 else path[1:])
    return None if grammar is None else grammar(path)


def _why_refused(raw: bytes) -> Refusal:
    """The refusal of a target that is not a clean path; the worst fault names the reason."""
    if not raw.startswith(b"/"):
        return _NOT_A_PATH
    path, question, query = raw.partition(b"?")
    if b"%" in path:
        return _ESCAPE
    if _DOT_SEGMENT.search(path) is not None:
        return _DOTS
    if not question or _PATH.fullmatch(path) is None or _QUERY_BYTES.fullmatch(query) is None:
        return _ODD_BYTE
    return _QUERY
