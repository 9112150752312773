"""Where cargo fetches the index and the crates of crates.io from.

Rules (cargo 1.95: doc/src/reference/{config,registry-index}.md; see also `replacement`):
1. A sparse registry's URL begins with "sparse+" and ends with "/"; without "sparse+" cargo clones a
   git repository, which no mirror of this kind has.
2. cargo replaces nothing else: git dependencies, patches and other registries go where they always
   went.

Runs in: commands. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mirror.doctor.cargo_files import CargoFiles, setting
from mirror.doctor.findings import Base, Finding, Verdict, parse_base, shown
from mirror.doctor.replacement import CRATES_IO, registry_index, source_of_crates

_CRATES = "crates and index"
_UPSTREAM = "index.crates.io and static.crates.io"
_INDEX_VARIABLE = re.compile(r"CARGO_REGISTRIES_([A-Z0-9_]+)_INDEX")
_DOWNLOADERS = {
    "cargo-audit": "clones RustSec's advisories from GitHub",
    "cargo-binstall": "takes programs from their release pages, mostly GitHub",
    "cargo-deny": "clones RustSec's advisories from GitHub",
    "cross": "builds in containers, which do not inherit these variables and files",
    "wasm-pack": "downloads wasm-bindgen and others itself, from GitHub",
    "cargo-install-update": "asks crates.io's registry through cargo's own settings",
}


def judge_cargo(
    files: CargoFiles, environ: Mapping[str, str], mirror: Base | None
) -> Iterator[Finding]:
    """Say where cargo goes, and what slows it down on the way."""
    for trouble in files.troubles:
        yield Finding(
            verdict=Verdict.PAST,
            subject="cargo configuration",
            sentence="cargo ends with an error: a configuration file cannot be read",
            seen=trouble,
            remedy="correct or remove that file",
        )
    yield _crates(files, environ, mirror)
    yield from _registries(files, environ, mirror)
    yield from _patches(files)
    yield from _transport(files, environ)


def _crates(files: CargoFiles, environ: Mapping[str, str], mirror: Base | None) -> Finding:
    source = source_of_crates(files, environ)
    remedy = (
        'in $CARGO_HOME/config.toml: [source.crates-io] replace-with = "mirror" and '
        f'[source.mirror] registry = "sparse+{mirror or "https://MIRROR"}/index/"'
    )

    def told(verdict: Verdict, sentence: str) -> Finding:
        return Finding(
            verdict=verdict,
            subject=_CRATES,
            sentence=sentence,
            seen=source.seen,
            remedy=remedy if verdict is Verdict.PAST else "",
        )

    kind, _, folder = source.url.partition("+")
    if source.trouble:
        return told(Verdict.PAST, f"cannot be fetched: {source.trouble}")
    if not source.url:
        return told(Verdict.PAST, f"come from {_UPSTREAM}: no source replaces crates-io")
    if kind in ("local-registry", "directory"):
        where = f"come from a folder, {folder}: neither upstream nor the mirror is asked"
        return told(Verdict.GOOD, where)
    registry = source.registry
    if not registry:
        where = f"come from a git repository, {shown(source.url)}: a sparse registry is needed"
        return told(Verdict.PAST, where)
    if not registry.endswith("/"):
        return told(Verdict.PAST, f'cannot be fetched: {shown(registry)} must end in "/"')
    if parse_base(registry) is None:
        where = f"cannot be fetched: {shown(registry)} is no http:// or https:// URL"
        return told(Verdict.PAST, where)
    if mirror is not None and not mirror.holds(registry):
        return told(Verdict.PAST, f"come from another host than the mirror: {shown(registry)}")
    return told(Verdict.GOOD, f"come from {shown(registry)}")


def _registries(
    files: CargoFiles, environ: Mapping[str, str], mirror: Base | None
) -> Iterator[Finding]:
    tables = files.value("registries")
    names = {name.replace("-", "_").upper(): name for name in tables or () if name != CRATES_IO}
    for variable in environ:
        if found := _INDEX_VARIABLE.fullmatch(variable):
            names.setdefault(found[1], found[1].lower())
    for name in sorted(names.values()):
        url, seen = registry_index(files, environ, name)
        if not url or (mirror and mirror.holds(url.removeprefix("sparse+"))):
            continue
        yield Finding(
            verdict=Verdict.NOTE,
            subject=f"registry {name}",
            sentence=f"is another registry, {shown(url)}: its crates do not come from the mirror",
            seen=seen,
        )


def _patches(files: CargoFiles) -> Iterator[Finding]:
    patches = files.value("patch")
    for place, crates in patches.items() if isinstance(patches, dict) else ():
        for name in crates if isinstance(crates, dict) else ():
            url = files.value("patch", place, name, "git")
            if isinstance(url, str):
                yield Finding(
                    verdict=Verdict.NOTE,
                    subject=f"crate {name}",
                    sentence=f"is patched: it comes by git from {shown(url)}",
                    seen=files.origin("patch", place, name, "git"),
                )


def _transport(files: CargoFiles, environ: Mapping[str, str]) -> Iterator[Finding]:
    multiplexing, seen = setting(files, environ, "http", "multiplexing")
    if multiplexing in (False, "false"):
        yield Finding(
            verdict=Verdict.SLOW,
            subject="cargo over HTTP/2",
            sentence="is turned off: cargo then has two requests at a time instead of a hundred",
            seen=seen,
            remedy="remove http.multiplexing = false",
        )
    offline, seen = setting(files, environ, "net", "offline")
    if offline in (True, "true"):
        yield Finding(
            verdict=Verdict.NOTE,
            subject="cargo",
            sentence="is offline: it fetches nothing from anywhere",
            seen=seen,
        )


def judge_tools(found: Mapping[str, str]) -> Iterator[Finding]:
    """Name programs that fetch by themselves; `found` maps a program to its path."""
    for name, path in sorted(found.items()):
        yield Finding(verdict=Verdict.NOTE, subject=name, sentence=_DOWNLOADERS[name], seen=path)


def downloaders() -> tuple[str, ...]:
    """Return the programs to look for."""
    return tuple(_DOWNLOADERS)
