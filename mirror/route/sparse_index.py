"""The grammar of the sparse index: one file per crate, below the registry's root.

Rules:
1. The path is made of the lower-case name: `1/n`, `2/nn`, `3/n/nnn`, else `ab/cd/abcd…`.
2. Directories that do not agree with the name, and upper case, name nothing: cargo asks for the
   lower-case path only, and each second spelling would be a second key for the same bytes.

Does not know `config.json`: the mirror makes it (`Local.INDEX_CONFIG`).

Runs in: both. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from mirror.route.crates import NAME_PATTERN
from mirror.route.route import ContentClass, Kind, Route, Tempo, UpstreamName

_FILE: Final = re.compile(
    r"/(?:1/[a-z]"
    r"|2/[a-z][a-z0-9_-]"
    r"|3/([a-z])/\1[a-z0-9_-]{2}"
    r"|([a-z][a-z0-9_-])/([a-z0-9_-]{2})/\2\3[a-z0-9_-]{0,60})"
)
_NAME: Final = re.compile(NAME_PATTERN)


def match_index(path: str) -> Route | None:
    """The route of a path below the registry's root, or None when it is not in the grammar."""
    return None if _FILE.fullmatch(path) is None else _index(path)


def index_route(crate_name: str) -> Route | None:
    """The route of a crate's index file, whatever the name's case; None for an impossible name."""
    if _NAME.fullmatch(crate_name) is None:
        return None
    name = crate_name.lower()
    if len(name) <= 2:
        return _index(f"/{len(name)}/{name}")
    if len(name) == 3:
        return _index(f"/3/{name[0]}/{name}")
    return _index(f"/{name[:2]}/{name[2:4]}/{name}")


def indexed_name(route: Route) -> str | None:
    """The lower-case crate name of an index file's route; None for every other kind."""
    return route.path.rpartition("/")[2] if route.kind is Kind.INDEX_FILE else None


def _index(path: str) -> Route:
    return Route(
        key="index:" + path,
        kind=Kind.INDEX_FILE,
        upstream=UpstreamName.INDEX,
        path=path,
        tempo=Tempo.INDEX,
        content_class=ContentClass.INDEX,
        media_type="text/plain",
    )
