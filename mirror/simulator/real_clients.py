"""Real rustup and cargo in a home of their own, pointed at a mirror or at the simulator.

Rules:
1. The user's own `.rustup` and `.cargo` are read only to find the programs, never written.
2. rustup is copied into the home, so that self-update replaces the copy.
3. The environment is built from nothing: no variable of the caller reaches the client.

Runs in: tests, demo, benchmarks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RealClients:
    """Where the programs are; `cargo` and `rustc` are a toolchain's own, not rustup's proxies."""

    rustup: Path
    cargo: Path
    rustc: Path


def find_real_clients() -> RealClients | None:
    """Return the programs of this machine, or nothing when one of them is absent."""
    rustup = shutil.which("rustup")
    if rustup is None:
        return None
    found = {}
    for name in ("cargo", "rustc"):
        command = [rustup, "which", name]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        if result.returncode:
            return None
        found[name] = Path(result.stdout.strip())
    return RealClients(rustup=Path(rustup).resolve(), cargo=found["cargo"], rustc=found["rustc"])


class ClientHome:
    """One isolated HOME; its commands may run at the same time as those of other homes."""

    def __init__(
        self,
        root: Path,
        clients: RealClients,
        *,
        releases_url: str,
        index_url: str,
        extra: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """`index_url` is the registry's root with or without its final slash.

        `prefix` is a command that runs the rest of its line, such as `unshare …`.
        """
        self.root = root
        self._clients = clients
        self._prefix = list(prefix)
        self._cargo_home = root / "cargo"
        binaries = self._cargo_home / "bin"
        binaries.mkdir(parents=True, exist_ok=True)
        self._rustup = binaries / "rustup"
        shutil.copy2(clients.rustup, self._rustup)
        self._environment = {
            "HOME": str(root),
            "PATH": _search_path(binaries),
            "RUSTUP_HOME": str(root / "rustup"),
            "CARGO_HOME": str(self._cargo_home),
            "RUSTUP_DIST_SERVER": releases_url,
            "RUSTUP_UPDATE_ROOT": f"{releases_url}/rustup",
            "RUSTC": str(clients.rustc),
            **(extra or {}),
        }
        self.use_registry(index_url)

    @property
    def environment(self) -> Mapping[str, str]:
        return self._environment

    @property
    def rustup_home(self) -> Path:
        return self.root / "rustup"

    @property
    def cargo_home(self) -> Path:
        return self._cargo_home

    @property
    def rustup_binary(self) -> Path:
        """The copy that self-update replaces."""
        return self._rustup

    def use_registry(self, index_url: str) -> None:
        """Let crates.io be replaced by the sparse registry at `index_url`."""
        text = (
            '[source.crates-io]\nreplace-with = "mirror"\n\n'
            f'[source.mirror]\nregistry = "sparse+{index_url.rstrip("/")}/"\n'
        )
        (self._cargo_home / "config.toml").write_text(text)

    def rustup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run rustup and return what it printed; the exit status is the caller's to judge."""
        return self._run([str(self._rustup), *arguments], self.root)

    def start_rustup(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start rustup, for a caller that ends it before it is done."""
        command = [*self._prefix, str(self._rustup), *arguments]
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def cargo(self, *arguments: str, workspace: Path) -> subprocess.CompletedProcess[str]:
        return self._run([str(self._clients.cargo), *arguments], workspace)

    def toolchain_program(self, toolchain: str, name: str) -> Path:
        """Return the path of a program that `rustup toolchain install` has put there."""
        [found] = self.rustup_home.glob(f"toolchains/{toolchain}-*/bin/{name}")
        return found

    def _run(self, command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._prefix, *command],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )


def write_workspace(path: Path, dependencies: Mapping[str, str]) -> Path:
    """Write a package that calls `value()` of each dependency; return its folder."""
    (path / "src").mkdir(parents=True, exist_ok=True)
    lines = [
        "[package]",
        'name = "visitor"',
        'version = "0.1.0"',
        'edition = "2021"',
        "",
        "[dependencies]",
        *(f'{name} = "{requirement}"' for name, requirement in dependencies.items()),
        "",
        "[workspace]",
        "",
    ]
    (path / "Cargo.toml").write_text("\n".join(lines))
    calls = "".join(f".wrapping_add({name.replace('-', '_')}::value())" for name in dependencies)
    program = f'fn main() {{\n    println!("{{}}", 0u64{calls});\n}}\n'
    (path / "src" / "main.rs").write_text(program)
    return path


def _search_path(binaries: Path) -> str:
    """Name the folder of the linker that rustc calls, wherever it is, and the standard ones."""
    linker = shutil.which("cc")
    folders = [str(binaries), *([str(Path(linker).parent)] if linker else []), os.defpath]
    return os.pathsep.join(folders)
