"""Published objects: what an upstream host has under one path.

Rules:
1. A published object is a value; replacing one keeps the former generation, for the skew fault.
2. Media types and Cache-Control are those of the real buckets (`static-rust-lang-org` sets
   `Cache-Control: public` on dated files only; crates are immutable; index files ten minutes).

Units: Unix seconds. Runs in: simulator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from mirror.simulator.contents import Content


class Site(StrEnum):
    """Which of the three upstream hosts a listener stands for."""

    RELEASES = "releases"
    CRATES = "crates"
    INDEX = "index"


_MEDIA_TYPES = (
    (".tar.gz", "application/gzip"),
    (".crate", "application/gzip"),
    (".tar.xz", "application/x-xz"),
    (".toml", "binary/octet-stream"),  # S3's default: `aws s3 cp` knows no type for .toml
    (".sha256", "binary/octet-stream"),
    (".asc", "text/plain"),
    (".ascii", "text/plain"),
    (".txt", "text/plain"),
    (".sh", "application/x-sh"),
    (".html", "text/html"),
    (".json", "application/json"),
)


def media_type(path: str) -> str:
    """Return the Content-Type that upstream has for `path`."""
    for suffix, value in _MEDIA_TYPES:
        if path.endswith(suffix):
            return value
    return "binary/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One object of an upstream host."""

    content: Content
    content_type: str
    last_modified_at: int
    cache_control: str = ""
    content_coding: str = ""
    former: Published | None = None


class Shelf:
    """The objects of one host, by path."""

    def __init__(self) -> None:
        self._objects: dict[str, Published] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[str]:
        return iter(self._objects)

    def put(
        self,
        path: str,
        content: Content,
        *,
        last_modified_at: int,
        cache_control: str = "",
        content_type: str = "",
    ) -> None:
        """Publish `content` at `path`; what was there becomes the former generation."""
        former = self._objects.get(path)
        self._objects[path] = Published(
            content=content,
            content_type=content_type or media_type(path),
            last_modified_at=last_modified_at,
            cache_control=cache_control,
            former=replace(former, former=None) if former else None,
        )

    def find(self, path: str) -> Published | None:
        return self._objects.get(path)

    def remove(self, path: str) -> bool:
        """Remove the object; return whether there was one."""
        return self._objects.pop(path, None) is not None


def content_class(site: Site, path: str) -> str:
    """Name the class of content that `path` belongs to, as counted by `GET /counts`."""
    if site is Site.INDEX:
        return "config" if path == "/config.json" else "index"
    if site is Site.CRATES:
        return "crate"
    if path.startswith("/rustup"):
        return "rustup"
    name = path.rpartition("/")[2]
    if name.startswith("channel-rust-"):
        return "channel"
    if name == "manifests.txt":
        return "manifests"
    return "proof" if name.endswith((".sha256", ".asc")) else "archive"
