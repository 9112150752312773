"""The grammar of `/rustup/…`: rustup's own releases.

Rules:
1. `release-stable.toml` and `rustup-init.sh` move, and nobody upstream states their digest.
2. `dist/<triple>/` is the newest binary, `archive/<version>/<triple>/` never changes; both have a
   `.sha256` beside them, and no signature.
3. `/rustup/www/` is a web site, not a file that a client of this mirror installs: not in the
   grammar, so that no upstream page runs under this server's name.

Runs in: both. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from mirror.route.dist import BINARY, TEXT
from mirror.route.route import ContentClass, Kind, Route, Tempo, UpstreamName

_HEADS: Final = {
    "/rustup/release-stable.toml": TEXT,
    "/rustup/rustup-init.sh": "text/x-shellscript",
}
_LABELS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = rf"[0-9]{{1,4}}\.[0-9]{{1,4}}\.[0-9]{{1,4}}(?:-{_LABELS})?"
_TRIPLE = r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9_-]+)*"
# The oldest archived releases call the installer rustup-setup.
_BINARY_FILE: Final = re.compile(
    rf"/rustup/(?:dist|(?P<version>archive/{_VERSION}))/{_TRIPLE}"
    r"/rustup-(?:init|setup)(?:\.exe)?(?P<proof>\.sha256)?"
)


def match_rustup(path: str) -> Route | None:
    """The route of a canonical path under `/rustup/`, or None when it is not in the grammar."""
    media_type = _HEADS.get(path)
    if media_type is not None:
        return _rustup(path, Kind.RUSTUP_HEAD, Tempo.RUSTUP, media_type)
    found = _BINARY_FILE.fullmatch(path)
    if found is None:
        return None
    tempo = Tempo.FOREVER if found["version"] else Tempo.RUSTUP
    if found["proof"]:
        return _rustup(path, Kind.RUSTUP_PROOF, tempo, TEXT)
    return _rustup(path, Kind.RUSTUP_BINARY, tempo, BINARY)


def _rustup(path: str, kind: Kind, tempo: Tempo, media_type: str) -> Route:
    return Route(
        key="releases:" + path,
        kind=kind,
        upstream=UpstreamName.RELEASES,
        path=path,
        tempo=tempo,
        content_class=ContentClass.RUSTUP,
        media_type=media_type,
    )
