"""Crate packages: a `.crate` that cargo unpacks, resolves and really compiles.

Rules:
1. A package is gzip of ustar with everything below `<name>-<version>/`, as `cargo package` makes.
2. The library calls every dependency, so a build proves that each arrived whole.

Runs in: simulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mirror.simulator.tar_files import TarFile, gzip_small, ustar

_MODIFIED_AT = 1_153_704_088  # what cargo writes into every package since 1.54


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """One dependency of one version."""

    name: str
    requirement: str = "^1"
    optional: bool = False
    target: str = ""  # for example "cfg(windows)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSpec:
    """Everything that decides the bytes of one package."""

    name: str
    version: str
    dependencies: Sequence[Dependency] = ()
    payload: bytes = b""  # an extra file, to make packages of different sizes

    @property
    def features(self) -> dict[str, list[str]]:
        """A feature per optional dependency, and the default set."""
        names = [item.name for item in self.dependencies if item.optional]
        return {"default": [], **{f"with-{name}": [f"dep:{name}"] for name in names}}


def crate_file(spec: PackageSpec) -> bytes:
    """Return the bytes of `<name>-<version>.crate`."""
    top = f"{spec.name}-{spec.version}"
    files = [
        TarFile(path=f"{top}/Cargo.toml", content=_manifest(spec).encode()),
        TarFile(path=f"{top}/src/lib.rs", content=_library(spec).encode()),
    ]
    if spec.payload:
        files.append(TarFile(path=f"{top}/payload.bin", content=spec.payload))
    return gzip_small(ustar(files, modified_at=_MODIFIED_AT))


def _manifest(spec: PackageSpec) -> str:
    lines = [
        "[package]",
        f'name = "{spec.name}"',
        f'version = "{spec.version}"',
        'edition = "2021"',
        'license = "MIT OR Apache-2.0"',
        'description = "A simulated crate"',
        "",
        "[features]",
    ]
    for feature, parts in spec.features.items():
        lines.append(f"{feature} = [{', '.join(f'{part!r}' for part in parts)}]")
    lines += ["", "[dependencies]"]
    lines += [_dependency_line(item) for item in spec.dependencies if not item.target]
    for item in spec.dependencies:
        if item.target:
            lines += ["", f"[target.'{item.target}'.dependencies]", _dependency_line(item)]
    return "\n".join([*lines, ""])


def _dependency_line(item: Dependency) -> str:
    optional = ", optional = true" if item.optional else ""
    return f'{item.name} = {{ version = "{item.requirement}"{optional} }}'


def _library(spec: PackageSpec) -> str:
    calls = "".join(
        f"\n        .wrapping_add({item.name.replace('-', '_')}::value())"
        for item in spec.dependencies
        if not item.optional and not item.target
    )
    return (
        f"//! {spec.name} {spec.version}\n"
        "#![allow(non_snake_case)]\n\n"
        "/// One more than the sum of what the dependencies say.\n"
        f"pub fn value() -> u64 {{\n    1u64{calls}\n}}\n"
    )
