"""What a Cargo.lock names, by where it comes from.

Rules:
1. A package without `source` is the workspace's own, and nothing fetches it.
2. crates.io's packages keep its name in the lock file under source replacement too.

Runs in: commands. Pure.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

_CRATES_IO = (
    "registry+https://github.com/rust-lang/crates.io-index",
    "sparse+https://index.crates.io/",
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LockedCrate:
    """`checksum` is 64 hexadecimal digits; "" in lock files of old versions."""

    name: str
    version: str
    checksum: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """`crates` are crates.io's; `others` map another source to its packages."""

    crates: tuple[LockedCrate, ...]
    others: dict[str, tuple[str, ...]]


def read_lockfile(text: str) -> Locked:
    """Raises: ValueError for what is no Cargo.lock."""
    packages = tomllib.loads(text).get("package", [])
    if not isinstance(packages, list):
        raise ValueError("package is no list of tables")
    crates: set[LockedCrate] = set()
    others: dict[str, tuple[str, ...]] = {}
    for package in packages:
        crate, source = _crate_of(package)
        if source in _CRATES_IO:
            crates.add(crate)
        elif source:
            place = source.partition("#")[0].partition("?")[0]
            others[place] = (*others.get(place, ()), str(crate))
    return Locked(crates=tuple(sorted(crates)), others=others)


def download_url(template: str, crate: LockedCrate) -> str:
    """Return where cargo gets a crate, by `dl` of a registry's config.json.

    Source: cargo:src/cargo/sources/registry/download.rs.
    """
    name = crate.name
    prefix = {1: "1", 2: "2", 3: f"3/{name[:1]}"}.get(len(name), f"{name[:2]}/{name[2:4]}")
    values = {
        "{crate}": name,
        "{version}": crate.version,
        "{prefix}": prefix,
        "{lowerprefix}": prefix.lower(),
        "{sha256-checksum}": crate.checksum,
    }
    if not any(marker in template for marker in values):
        template += "/{crate}/{version}/download"
    for marker, value in values.items():
        template = template.replace(marker, value)
    return template


def _crate_of(package: object) -> tuple[LockedCrate, str]:
    fields = package if isinstance(package, dict) else {}
    name, version = fields.get("name"), fields.get("version")
    source, checksum = fields.get("source", ""), fields.get("checksum", "")
    if not (isinstance(name, str) and name and isinstance(version, str) and version):
        raise ValueError("a package has no name or no version")
    if not isinstance(source, str) or not isinstance(checksum, str):
        raise ValueError(f"{name}: source and checksum are texts")
    return LockedCrate(name=name, version=version, checksum=checksum), source
