"""What simulated jobs may ask for, with the digest that each body must have.

Rules:
1. Digests come from who publishes: manifests, `.sha256` files and index lines (`survey`).
2. An object that may change is judged by the strong entity tag it comes with, which the mirror
   makes of the body's sha256.
3. It travels as JSON from the process that surveys to the process that asks.

Units: bytes; digests in lower-case hex. Runs in: benchmark, both environments. Pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One object; `length_bytes` 0: nobody has measured it.

    `may_change`: `sha256` is what it was when it was looked at; a body with another digest is then
    judged by its entity tag. `former`: digests of what it was before, and may not be any more.
    """

    target: str
    sha256: str
    length_bytes: int = 0
    may_change: bool = False
    former: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Crate:
    """One version of a crate, and the index file that lists it."""

    index: Item
    archive: Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """What rustup asks for to install one release, in its order.

    Where the manifest may change, it must be the one that the `.sha256` before it states.
    """

    name: str
    digest: Item
    manifest: Item
    archives: tuple[Item, ...]

    @property
    def length_bytes(self) -> int:
        return sum(item.length_bytes for item in (self.digest, self.manifest, *self.archives))


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All that is asked for; `config` is the registry's config.json."""

    toolchains: tuple[Toolchain, ...]
    crates: tuple[Crate, ...]
    config: Item

    @property
    def length_bytes(self) -> int:
        """The sum of what is known: what a mirror with an empty store must fetch at most."""
        crates = sum(crate.index.length_bytes + crate.archive.length_bytes for crate in self.crates)
        return crates + sum(toolchain.length_bytes for toolchain in self.toolchains)

    def archives(self) -> tuple[Item, ...]:
        """Return the archives of all toolchains."""
        return tuple(item for toolchain in self.toolchains for item in toolchain.archives)


def to_json(value: Catalogue | Toolchain) -> dict[str, Any]:
    return dataclasses.asdict(value)


def toolchain_from(document: Mapping[str, Any]) -> Toolchain:
    """Raises: KeyError, TypeError for what `to_json` did not write."""
    return Toolchain(
        name=document["name"],
        digest=_item(document["digest"]),
        manifest=_item(document["manifest"]),
        archives=tuple(map(_item, document["archives"])),
    )


def catalogue_from(document: Mapping[str, Any]) -> Catalogue:
    """Raises: KeyError, TypeError for what `to_json` did not write."""
    return Catalogue(
        toolchains=tuple(toolchain_from(item) for item in document["toolchains"]),
        crates=tuple(
            Crate(index=_item(item["index"]), archive=_item(item["archive"]))
            for item in document["crates"]
        ),
        config=_item(document["config"]),
    )


def _item(document: Mapping[str, Any]) -> Item:
    return Item(**{**document, "former": tuple(document["former"])})
