"""Channel manifests: the TOML text (version 2) that rustup reads.

Rules:
1. Every URL begins with the real host, which is the prefix that rustup replaces by its server.
2. Each component that `rust` names has a package; one that a release lacks is `available = false`.

Does not: parse manifests (`verify` room). Runs in: simulator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mirror.simulator.releases import EXTRA_TARGETS, HOST_PACKAGES, Release

UPSTREAM_URL = "https://static.rust-lang.org"

# Listed as not available, as the real manifest does for hundreds of package and target pairs.
_OTHER_TARGETS = (
    "aarch64-apple-darwin",
    "aarch64-pc-windows-msvc",
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "arm-unknown-linux-gnueabihf",
    "i686-pc-windows-msvc",
    "i686-unknown-linux-gnu",
    "loongarch64-unknown-linux-gnu",
    "powerpc64le-unknown-linux-gnu",
    "riscv64gc-unknown-linux-gnu",
    "s390x-unknown-linux-gnu",
    "x86_64-apple-darwin",
    "x86_64-pc-windows-gnu",
    "x86_64-pc-windows-msvc",
    "x86_64-unknown-freebsd",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
)
_RENAMES = (("clippy", "clippy-preview"), ("rustfmt", "rustfmt-preview"))
_MINIMAL = ("rustc", "cargo", "rust-std")
_DEFAULT = (*_MINIMAL, "rust-docs", "rustfmt-preview", "clippy-preview")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Where an archive is and what its two forms hash to."""

    path: str  # without its compression suffix: "dist/2026-04-16/rustc-1.95.0-x86_64-…"
    gzip_hash: str
    xz_hash: str


def manifest_text(
    release: Release,
    host: str,
    archives: Mapping[tuple[str, str], Archive],
    source: Archive,
) -> str:
    """Write the manifest of `release`; `archives` is keyed by (package, target).

    `source` goes into the `artifacts` table, which rustup does not read but which names files.
    """
    lines = ['manifest-version = "2"', f'date = "{release.day}"']
    for package in sorted({name for name, _ in archives} | {*HOST_PACKAGES, "rust"}):
        lines += ["", f"[pkg.{package}]", f'version = "{release.full_version}"']
        lines.append(f'git_commit_hash = "{release.full_version.split("(")[1][:9]:0<40}"')
        for target in _targets(package, host, archives):
            lines += ["", f'[pkg.{package}.target."{target}"]']
            lines += _target_lines(archives.get((package, target)))
            if package == "rust" and target == host:
                lines += _component_lines(host)
    lines += _source_lines(source)
    for short, full in _RENAMES:
        lines += ["", f"[renames.{short}]", f'to = "{full}"']
    lines += ["", "[profiles]", f"minimal = {_toml_list(_MINIMAL)}"]
    lines += [f"default = {_toml_list(_DEFAULT)}"]
    lines += [f"complete = {_toml_list((*_DEFAULT, 'rust-src'))}", ""]
    return "\n".join(lines)


def _targets(package: str, host: str, archives: Mapping[tuple[str, str], Archive]) -> list[str]:
    named = {target for name, target in archives if name == package}
    if "*" in named:
        return ["*"]
    return sorted(named | {host, *_OTHER_TARGETS})


def _target_lines(archive: Archive | None) -> list[str]:
    if archive is None:
        return ["available = false"]
    return [
        "available = true",
        f'url = "{UPSTREAM_URL}/{archive.path}.tar.gz"',
        f'hash = "{archive.gzip_hash}"',
        f'xz_url = "{UPSTREAM_URL}/{archive.path}.tar.xz"',
        f'xz_hash = "{archive.xz_hash}"',
    ]


def _source_lines(source: Archive) -> list[str]:
    lines: list[str] = []
    for suffix, digest in (("gz", source.gzip_hash), ("xz", source.xz_hash)):
        lines += ["", '[[artifacts.source-code.target."*"]]']
        lines += [f'url = "{UPSTREAM_URL}/{source.path}.tar.{suffix}"', f'hash-sha256 = "{digest}"']
    return lines


def _component_lines(host: str) -> list[str]:
    components = [(name, host) for name in (*HOST_PACKAGES, "rust-std")]
    extensions = [("rust-std", target) for target in EXTRA_TARGETS] + [("rust-src", "*")]
    lines: list[str] = []
    for kind, members in (("components", components), ("extensions", extensions)):
        for name, target in members:
            lines += ["", f'[[pkg.rust.target."{host}".{kind}]]']
            lines += [f'pkg = "{name}"', f'target = "{target}"']
    return lines


def _toml_list(names: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
