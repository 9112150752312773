"""Component archives: what rust-installer makes and rustup unpacks.

Rules:
1. Layout: one top folder with `components`, `rust-installer-version` and, per component, a
   `manifest.in` naming each file; directories have entries of their own.
2. Programs are shell scripts that print their version, so an installed toolchain can be run.
3. Sizes stay small because rustup unpacks them; `payload_bytes` makes the big three bigger.

Runs in: simulator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mirror.simulator.contents import KeyedContent
from mirror.simulator.tar_files import TarFile, ustar, with_directories

# Bytes of incompressible payload at scale 1; the proportions follow the real archives.
_PAYLOADS = {
    "rustc": 384 << 10,
    "rust-std": 192 << 10,
    "rust-docs": 96 << 10,
    "cargo": 64 << 10,
    "clippy-preview": 32 << 10,
    "rustfmt-preview": 16 << 10,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSpec:
    """Everything that decides the bytes of one component archive."""

    package: str
    version: str  # as in the file name: "1.95.0", "beta", "nightly"
    full_version: str  # as printed: "1.95.0 (59807616e 2026-04-14)"
    triple: str  # "*" for a component of every target
    built_at: int
    seed: int
    payload_scale: int = 1

    @property
    def stem(self) -> str:
        """The archive's file name without its compression suffix."""
        target = "" if self.triple == "*" else f"-{self.triple}"
        return f"{file_stem(self.package)}-{self.version}{target}"


def file_stem(package: str) -> str:
    """Return the package's name as archive names spell it (`clippy-preview` is `clippy-…`)."""
    return package.removesuffix("-preview")


def component_tar(spec: ComponentSpec) -> bytes:
    """Return the uncompressed archive of one component."""
    component = f"rust-std-{spec.triple}" if spec.package == "rust-std" else spec.package
    files = list(_files(spec))
    listing = "".join(f"file:{file.path}\n" for file in files)
    top = spec.stem
    entries = [
        TarFile(path=f"{top}/components", content=f"{component}\n".encode()),
        TarFile(path=f"{top}/rust-installer-version", content=b"3\n"),
        TarFile(path=f"{top}/version", content=spec.full_version.encode()),
        TarFile(path=f"{top}/{component}/manifest.in", content=listing.encode()),
    ]
    for file in files:
        entries.append(
            TarFile(
                path=f"{top}/{component}/{file.path}",
                content=file.content,
                is_executable=file.is_executable,
            )
        )
    return ustar(with_directories(entries), modified_at=spec.built_at)


def _files(spec: ComponentSpec) -> Iterable[TarFile]:
    payload = _payload(spec)
    match spec.package:
        case "rustc":
            yield _program("rustc", spec)
            yield _program("rustdoc", spec)
            yield TarFile(path="lib/librustc_driver.so", content=payload)
        case "cargo":
            yield _program("cargo", spec)
            yield TarFile(path="libexec/cargo-credential.bin", content=payload)
        case "rust-std":
            library = f"lib/rustlib/{spec.triple}/lib/libstd.rlib"
            yield TarFile(path=library, content=payload)
        case "rust-docs":
            page = f"<!doctype html><title>Rust {spec.version}</title>\n".encode()
            yield TarFile(path="share/doc/rust/html/index.html", content=page)
            yield TarFile(path="share/doc/rust/html/search-index.js", content=payload)
        case "rustfmt-preview":
            yield _program("rustfmt", spec)
            yield _program("cargo-fmt", spec)
            yield TarFile(path="share/doc/rustfmt/payload.bin", content=payload)
        case "clippy-preview":
            yield _program("cargo-clippy", spec)
            yield _program("clippy-driver", spec)
            yield TarFile(path="share/doc/clippy/payload.bin", content=payload)
        case _:
            source = f"//! {spec.package} {spec.full_version}\n".encode()
            yield TarFile(path="lib/rustlib/src/rust/library/std/src/lib.rs", content=source)


def _payload(spec: ComponentSpec) -> bytes:
    length = _PAYLOADS.get(spec.package, 0) * spec.payload_scale
    name = f"{spec.package} {spec.full_version} {spec.triple}"
    return KeyedContent(spec.seed, name, length).read(0, length)


def _program(name: str, spec: ComponentSpec) -> TarFile:
    """Return a script that answers `--version` and `-vV` as the real program does."""
    release = spec.full_version.partition(" ")[0]
    script = (
        "#!/bin/sh\n"
        f'echo "{name} {spec.full_version}"\n'
        f'case "$*" in *-vV*|*-Vv*) echo "release: {release}"; echo "host: {spec.triple}";; esac\n'
    )
    return TarFile(path=f"bin/{name}", content=script.encode(), is_executable=True)
