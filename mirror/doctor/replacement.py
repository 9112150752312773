"""What crates.io is replaced with, followed as cargo follows it.

Rules (cargo 1.95, each seen with it; doc/src/reference/source-replacement.md):
1. `[source.crates-io] replace-with` names a source or a registry, which may be replaced again;
   without it, `registry` there says where crates.io itself is.
2. `[source]` is read from files only; `[registries.NAME] index` also from
   `CARGO_REGISTRIES_NAME_INDEX`, which wins, and an empty one is no index.
3. Each `[source]`, used or not, names exactly one place. A circle is an error, or cargo hangs.

Runs in: commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mirror.doctor.cargo_files import CargoFiles

CRATES_IO = "crates-io"
_PLACES = ("registry", "local-registry", "directory", "git")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """`url` "": crates.io's own. `trouble`: why cargo ends with an error. `seen`: who says so."""

    url: str = ""
    seen: str = ""
    trouble: str = ""

    @property
    def registry(self) -> str:
        """The URL without "sparse+", which cargo reads in capitals too; "" where there is none."""
        kind, _, rest = self.url.partition("+")
        return rest if kind.lower() == "sparse" else ""


def source_of_crates(files: CargoFiles, environ: Mapping[str, str]) -> Source:
    """Follow the replacements from crates.io on."""
    for source in _malformed(files):
        return source
    name, seen, passed = CRATES_IO, "", set()
    while isinstance(following := files.value("source", name, "replace-with"), str):
        passed.add(name)
        seen = seen or files.origin("source", name, "replace-with")
        if following in passed:
            return Source(seen=seen, trouble=f"the replacements end in a circle, at {following!r}")
        name = following
    for place in _PLACES:
        url = files.value("source", name, place)
        if isinstance(url, str):
            prefix = "" if place == "registry" else f"{place}+"
            return Source(url=prefix + url, seen=seen or files.origin("source", name, place))
    if name == CRATES_IO:
        return Source()
    url, told = registry_index(files, environ, name)
    if not url:
        return Source(seen=told or seen, trouble=f"nothing says what {name!r} is")
    return Source(url=url, seen=told if told in environ else seen)


def registry_index(files: CargoFiles, environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the index of a registry, "" where it has none, and who says so."""
    variable = f"CARGO_REGISTRIES_{name.upper().replace('-', '_')}_INDEX"
    if variable in environ:
        return environ[variable], variable
    index = files.value("registries", name, "index")
    return (index if isinstance(index, str) else ""), files.origin("registries", name, "index")


def _malformed(files: CargoFiles) -> Iterator[Source]:
    sources = files.value("source")
    for name, table in sources.items() if isinstance(sources, dict) else ():
        keys = table if isinstance(table, dict) else {}
        places = [place for place in _PLACES if place in keys]
        if len(places) > 1 or (not places and name != CRATES_IO):
            trouble = f"[source.{name}] names {len(places)} places; one of {', '.join(_PLACES)}"
        elif not all(isinstance(keys.get(key, ""), str) for key in ("replace-with", *places)):
            trouble = f"[source.{name}] has a value that is no text"
        else:
            continue
        origins = (files.origin("source", name, key) for key in ("replace-with", *_PLACES))
        yield Source(seen=next(filter(None, origins), ""), trouble=trouble)
