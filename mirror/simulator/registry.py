"""The registry: index files and crates, as crates.io publishes them.

Rules:
1. Names map to whole index files; after every change the file is written anew, never merged.
2. Yanking changes the index only; deleting removes the index file and every `.crate`, after which
   the name can be published again with other bytes.
3. Index paths use the lower-cased name; crate paths keep the case of the name and a raw `+`.

Units: Unix seconds. Runs in: simulator.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from mirror.simulator.contents import Content, FixedContent
from mirror.simulator.crate_package import Dependency, PackageSpec, crate_file
from mirror.simulator.published import Shelf

INDEX_CACHE = "public,max-age=600"
CRATE_CACHE = "public,max-age=31536000,immutable"


@dataclass(slots=True)
class _Version:
    spec: PackageSpec
    cksum: str
    yanked: bool = False


@dataclass(slots=True)
class _Crate:
    name: str
    versions: dict[str, _Version] = field(default_factory=dict)


def index_path(name: str) -> str:
    """Return the path of the index file of crate `name`."""
    lower = name.lower()
    if len(lower) < 3:
        return f"/{len(lower)}/{lower}"
    if len(lower) == 3:
        return f"/3/{lower[0]}/{lower}"
    return f"/{lower[:2]}/{lower[2:4]}/{lower}"


def crate_path(name: str, version: str) -> str:
    """Return the canonical path of a `.crate`."""
    return f"/crates/{name}/{name}-{version}.crate"


class Registry:
    """Publishes crates onto the shelves of the two hosts."""

    def __init__(self, crates: Shelf, index: Shelf) -> None:
        self._crate_shelf = crates
        self._index_shelf = index
        self._crates: dict[str, _Crate] = {}

    def __len__(self) -> int:
        return len(self._crates)

    def publish_config(self, dl: str, at: int) -> None:
        """Publish `config.json` with the given download root."""
        content = json.dumps({"dl": dl, "api": "https://crates.io"}, separators=(",", ":"))
        self._index_shelf.put("/config.json", FixedContent(content.encode()), last_modified_at=at)

    def publish(self, specs: Iterable[PackageSpec], at: int) -> None:
        """Publish versions; an existing version is replaced, which crates.io never does."""
        touched: dict[str, None] = {}
        for spec in specs:
            content = FixedContent(crate_file(spec))
            crate = self._crates.setdefault(spec.name.lower(), _Crate(spec.name))
            crate.versions[spec.version] = _Version(spec, content.sha256.hex())
            self._put_crate(spec, content, at)
            touched[spec.name] = None
        for name in touched:
            self._write_index(name, at)

    def change_bytes(self, name: str, version: str, payload: bytes, *, at: int) -> str:
        """Publish other bytes, and their `cksum`, as an existing version; return that `cksum`.

        crates.io never does this. Raises: KeyError when there is no such version.
        """
        crate = self._crates[name.lower()]
        entry = crate.versions[version]
        spec = replace(entry.spec, payload=payload)
        content = FixedContent(crate_file(spec))
        crate.versions[version] = _Version(spec, content.sha256.hex(), yanked=entry.yanked)
        self._put_crate(spec, content, at)
        self._write_index(name, at)
        return content.sha256.hex()

    def remove_version(self, name: str, version: str, *, at: int) -> bool:
        """Take one version out of the index file, with its `.crate`; return whether it existed."""
        crate = self._crates.get(name.lower())
        if crate is None or crate.versions.pop(version, None) is None:
            return False
        self._crate_shelf.remove(crate_path(crate.name, version))
        self._write_index(name, at)
        return True

    def yank(self, name: str, version: str, *, yanked: bool, at: int) -> bool:
        """Set or clear the yanked mark; return whether the version exists."""
        crate = self._crates.get(name.lower())
        entry = crate.versions.get(version) if crate else None
        if entry is None:
            return False
        entry.yanked = yanked
        self._write_index(name, at)
        return True

    def delete(self, name: str) -> bool:
        """Delete the crate with all its files; return whether it existed."""
        crate = self._crates.pop(name.lower(), None)
        if crate is None:
            return False
        for version in crate.versions:
            self._crate_shelf.remove(crate_path(crate.name, version))
        return self._index_shelf.remove(index_path(name))

    def closure(self, root: str) -> list[str]:
        """Return `root` and what it needs on any target with default features, breadth first."""
        seen = {root: None}
        queue = [root]
        for name in queue:
            for dependency in self._dependencies(name):
                if dependency.name not in seen:
                    seen[dependency.name] = None
                    queue.append(dependency.name)
        return list(seen)

    def names(self) -> list[str]:
        return [crate.name for crate in self._crates.values()]

    def versions(self, name: str) -> list[str]:
        crate = self._crates.get(name.lower())
        return list(crate.versions) if crate else []

    def _dependencies(self, name: str) -> Iterator[Dependency]:
        crate = self._crates.get(name.lower())
        usable = [entry for entry in crate.versions.values() if not entry.yanked] if crate else []
        if usable:
            yield from (item for item in usable[-1].spec.dependencies if not item.optional)

    def _put_crate(self, spec: PackageSpec, content: Content, at: int) -> None:
        path = crate_path(spec.name, spec.version)
        self._crate_shelf.put(path, content, last_modified_at=at, cache_control=CRATE_CACHE)

    def _write_index(self, name: str, at: int) -> None:
        crate = self._crates[name.lower()]
        lines = "".join(_index_line(entry) + "\n" for entry in crate.versions.values())
        self._index_shelf.put(
            index_path(name),
            FixedContent(lines.encode()),
            last_modified_at=at,
            cache_control=INDEX_CACHE,
            content_type="text/plain",
        )


def _index_line(entry: _Version) -> str:
    spec = entry.spec
    features = spec.features
    line: dict[str, object] = {
        "name": spec.name,
        "vers": spec.version,
        "deps": [_index_dependency(item) for item in spec.dependencies],
        "cksum": entry.cksum,
        "features": {"default": features.pop("default")},
        "yanked": entry.yanked,
    }
    if features:
        # `dep:` syntax goes into the second map, which old cargos skip because of `v`.
        line |= {"features2": features, "v": 2}
    return json.dumps(line, separators=(",", ":"))


def _index_dependency(item: Dependency) -> dict[str, object]:
    return {
        "name": item.name,
        "req": item.requirement,
        "features": [],
        "optional": item.optional,
        "default_features": True,
        "target": item.target or None,
        "kind": "normal",
    }
