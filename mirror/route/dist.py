"""The grammar of `/dist/…` and of the two single files of the releases upstream.

Rules:
1. Only files are named: a directory, a listing or `index.html` is not in the grammar.
2. A channel is a name that rustup asks for: stable, beta, nightly, or a version with what follows
   it (`1.95`, `1.95.0`, `1.95.0-beta`, `1.95.0-beta.2`).
3. An archive's name says by its suffix what it is; nothing is guessed from content.
4. What stands under a date never changes. Without a date only a whole version (`1.95.0`,
   `1.95.0-beta.2`) names something that practically stays; everything else moves with its channel.

Runs in: both. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mirror.route.route import ContentClass, Kind, Route, Tempo, UpstreamName

TEXT: Final = "text/plain"
BINARY: Final = "application/octet-stream"

_DATE = r"20[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_WHOLE_VERSION = r"[0-9]{1,3}\.[0-9]{1,4}\.[0-9]{1,4}"
_CHANNEL = (
    r"(?:stable|beta|nightly"
    rf"|[0-9]{{1,3}}\.[0-9]{{1,4}}|{_WHOLE_VERSION}(?:-(?:alpha|beta)(?:\.[0-9]{{1,3}})?)?)"
)
_PROOF_SUFFIXES: Final = (".sha256", ".asc")
_CHANNEL_PREFIX: Final = "channel-rust-"

# One dot at a time, never at an end: no dot segment and no hidden file can match.
_FILE: Final = re.compile(rf"/dist/(?:({_DATE})/)?([a-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*)")
_CHANNEL_FILE: Final = re.compile(
    rf"((?:/dist|/dist/(?P<date>{_DATE}))/channel-rust-(?P<name>{_CHANNEL}))"
    r"(?P<suffix>(?:\.toml)?(?:\.sha256|\.asc)?)"
)
# Two one-line texts that each release brings along beside its manifest.
_CHANNEL_NOTE: Final = re.compile(rf"channel-rust-{_CHANNEL}-(?:date|git-commit-hash)\.txt")
_LASTING_CHANNEL: Final = re.compile(rf"{_WHOLE_VERSION}(?:-(?:alpha|beta)\.[0-9]+)?")
_LASTING_NAME: Final = re.compile(rf"-{_WHOLE_VERSION}(?![0-9])")

# A compressed archive is a gzip *file*, never a coding of the response: with Content-Encoding curl
# would unpack it and every digest would fail.
_MEDIA_TYPES: Final = {
    ".tar.gz": "application/gzip",
    ".tar.xz": "application/x-xz",
    ".tar.zst": "application/zstd",
    ".tar.bz2": "application/x-bzip2",
    ".zip": "application/zip",
    ".msi": BINARY,
    ".pkg": BINARY,
    ".exe": BINARY,
}
_ARCHIVE_SUFFIX: Final = re.compile(rf"(?:{'|'.join(map(re.escape, _MEDIA_TYPES))})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One file of a channel's generation.

    `base_path` is the path without `suffix`; `suffix` is ".toml", ".toml.sha256" or ".toml.asc",
    and for the v1 list of file names "", ".sha256" or ".asc". `date` is None for a head.
    """

    name: str
    date: str | None
    base_path: str
    suffix: str
    is_v1: bool


def match_dist(path: str) -> Route | None:
    """The route of a canonical path under `/dist/`, or None when it is not in the grammar."""
    found = _FILE.fullmatch(path)
    if found is None:
        return None
    date, name = found[1], found[2]
    if name.startswith(_CHANNEL_PREFIX):
        channel = _CHANNEL_FILE.fullmatch(path)
        if channel is not None:
            return _channel_route(path, channel["name"], channel["suffix"], is_dated=bool(date))
    return _archive_route(path, name, is_dated=bool(date))


def match_single(path: str) -> Route | None:
    """The files at the root of the releases upstream: `/manifests.txt`, `/rust-key.gpg.ascii`."""
    if path == "/manifests.txt":
        return _release(path, Kind.MANIFESTS, Tempo.MANIFESTS, TEXT)
    if path == "/rust-key.gpg.ascii":
        return _release(path, Kind.RELEASE_KEY, Tempo.UNDATED, TEXT)
    return None


def channel_of(route: Route) -> Channel | None:
    """What a channel file is a file of; None for every other kind."""
    found = _CHANNEL_FILE.fullmatch(route.path)
    if found is None:
        return None
    return Channel(
        name=found["name"],
        date=found["date"],
        base_path=found[1],
        suffix=found["suffix"],
        is_v1=not found["suffix"].startswith(".toml"),
    )


def dated(route: Route) -> str | None:
    """The date in the path (`2026-01-01`), or None."""
    found = _FILE.fullmatch(route.path)
    return None if found is None else found[1]


def _channel_route(path: str, name: str, suffix: str, *, is_dated: bool) -> Route:
    if is_dated:
        tempo = Tempo.FOREVER
    elif _LASTING_CHANNEL.fullmatch(name):
        tempo = Tempo.UNDATED
    else:
        tempo = Tempo.CHANNEL
    kind = Kind.CHANNEL if suffix.startswith(".toml") else Kind.CHANNEL_V1
    return _release(path, kind, tempo, TEXT)


def _archive_route(path: str, name: str, *, is_dated: bool) -> Route | None:
    is_proof = name.endswith(_PROOF_SUFFIXES)
    if is_proof:
        name = name.rpartition(".")[0]
    media_type = _media_type(name)
    if media_type is None:
        return None
    tempo = Tempo.FOREVER if is_dated else _undated_tempo(name)
    if is_proof:
        return _release(path, Kind.ARCHIVE_PROOF, tempo, TEXT)
    return _release(path, Kind.ARCHIVE, tempo, media_type)


def _media_type(name: str) -> str | None:
    found = _ARCHIVE_SUFFIX.search(name)
    if found is not None:
        return _MEDIA_TYPES[found[0]]
    return TEXT if _CHANNEL_NOTE.fullmatch(name) else None


def _undated_tempo(name: str) -> Tempo:
    moves = "-nightly" in name or "-beta" in name or not _LASTING_NAME.search(name)
    return Tempo.CHANNEL if moves else Tempo.UNDATED


def _release(path: str, kind: Kind, tempo: Tempo, media_type: str) -> Route:
    return Route(
        key="releases:" + path,
        kind=kind,
        upstream=UpstreamName.RELEASES,
        path=path,
        tempo=tempo,
        content_class=ContentClass.RELEASE,
        media_type=media_type,
    )
