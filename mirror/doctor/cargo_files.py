"""The configuration that cargo would read in a folder: all files, merged as cargo merges them.

Rules (cargo 1.95: doc/src/reference/config.md, src/cargo/util/context):
1. `.cargo/config.toml` of the folder and of each of its parents, then `$CARGO_HOME/config.toml`;
   the nearer one wins, key by key; lists are joined.
2. `.cargo/config` without ending is read in place of the other where both exist.
3. Files that one names under `include` (a list; names end in ".toml") count for less than itself,
   and later ones for more than earlier ones. None comes twice; one may be `optional`.
4. What cannot be read or merged ends cargo; here it is told, and the rest goes on.

Does not: know flags of a cargo command (`--config`), or git's configuration, whose `http.proxy`
cargo also reads.
Runs in: commands.
"""

from __future__ import annotations

import os
import pwd
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Table = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class CargoFiles:
    """`origins` names, for each key, the file that its value comes from."""

    values: Table = field(default_factory=dict)
    origins: dict[tuple[str, ...], Path] = field(default_factory=dict)
    read: list[Path] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def value(self, *key: str) -> Any:
        """Return the value at a key; None where there is none."""
        found: Any = self.values
        for part in key:
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def origin(self, *key: str) -> str:
        """Return the file that says it; "" where nobody does."""
        path = self.origins.get(key)
        return "" if path is None else str(path)


def read_cargo_files(folder: Path, environ: Mapping[str, str]) -> CargoFiles:
    """Read what cargo would, started in `folder`."""
    files = CargoFiles()
    for path in _paths(folder, tool_home(folder, environ, "cargo")):
        _merge_file(files, path, seen=set())
    return files


def setting(files: CargoFiles, environ: Mapping[str, str], *key: str) -> tuple[Any, str]:
    """Return a value and who says so: its variable, which wins, or a file."""
    variable = "_".join(("CARGO", *key)).upper()
    if variable in environ:
        return environ[variable], variable
    return files.value(*key), files.origin(*key)


def tool_home(folder: Path, environ: Mapping[str, str], tool: str) -> Path:
    """Return `$CARGO_HOME` or `$RUSTUP_HOME`, as seen in `folder`; else `~/.cargo`, `~/.rustup`."""
    named = environ.get(f"{tool.upper()}_HOME")
    user = environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    return folder / named if named else Path(user) / f".{tool}"


def _paths(folder: Path, home: Path) -> Iterator[Path]:
    """Yield the files there are, the one that counts most first."""
    seen = set()
    folders = [each / ".cargo" for each in (folder, *folder.parents)]
    for place in (*folders, home):
        if place in seen:
            continue
        seen.add(place)
        old, new = place / "config", place / "config.toml"
        if old.exists():
            yield old
        elif new.exists():
            yield new


def _merge_file(files: CargoFiles, path: Path, *, seen: set[Path]) -> None:
    try:
        # cargo, too, reads on after a byte order mark.
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        files.troubles.append(f"{path}: {reason}")
        return
    files.read.append(path)
    seen.add(path)
    included = table.pop("include", [])
    _merge(files, files.values, table, path, ())
    if not isinstance(included, list):
        files.troubles.append(f"{path}: include must be a list")
        return
    for name, is_optional in map(_included, reversed(included)):
        other = Path(os.path.normpath(path.parent / name))
        if is_optional and not other.exists():
            continue
        if not name.endswith(".toml"):
            files.troubles.append(f'{path}: include = {name!r} must end in ".toml"')
        elif other in seen:
            files.troubles.append(f"{path}: include = {name!r} comes twice, or in a circle")
        else:
            _merge_file(files, other, seen=seen)


def _included(item: object) -> tuple[str, bool]:
    """Return the name, and whether it may be absent."""
    table = item if isinstance(item, dict) else {"path": item}
    name = table.get("path")
    return (name if isinstance(name, str) else ""), table.get("optional") is True


def _merge(
    files: CargoFiles, into: Table, table: Table, path: Path, prefix: tuple[str, ...]
) -> None:
    for name, value in table.items():
        key = (*prefix, name)
        present = into.get(name)
        if isinstance(value, dict) and (present is None or isinstance(present, dict)):
            _merge(files, into.setdefault(name, {}), value, path, key)
        elif isinstance(value, list) and isinstance(present, list):
            into[name] = [*present, *value]
        elif name not in into:
            into[name] = value
            files.origins[key] = path
        elif isinstance(value, dict | list) or isinstance(present, dict | list):
            dotted = ".".join(key)
            files.troubles.append(f"{path}: {dotted} is of another type than in a nearer file")
