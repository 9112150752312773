"""The demo's clients: stock rustup and cargo with homes of their own, or requests like theirs.

Rules:
1. The visitor's homes, toolchains and settings are neither read nor changed: every client gets an
   environment made here. Only `rustup which cargo` and `rustc -vV` run in the visitor's own, to
   find the binary and the machine's target.
2. Every round begins with new homes, so that a client asks for everything again.
3. Each client has a deadline and its own process group, which is ended with it.

Runs in: the demo.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mirror.cli.demo_mirror import DemoError

ROOT_CRATE = "harvest"  # more than 130 crates in its tree
_DEADLINE_S = 180.0
_FIND_DEADLINE_S = 20.0
_OUTPUT_TAIL = 1500


class Client(Protocol):
    """One step of a round."""

    @property
    def title(self) -> str: ...

    def run(self, mirror_url: str, home: Path) -> str:
        """Do it with fresh homes below `home`; return one line of result. Raises DemoError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rustup:
    """`rustup toolchain install` with a copy of the real binary."""

    binary: Path
    title: str = "rustup toolchain install stable --profile default"

    def run(self, mirror_url: str, home: Path) -> str:
        environ = _environment(mirror_url, home)
        copy = Path(environ["CARGO_HOME"]) / "bin" / "rustup"
        copy.parent.mkdir(parents=True)
        shutil.copy2(self.binary, copy)
        _run(
            [
                str(copy),
                "toolchain",
                "install",
                "stable",
                "--profile",
                "default",
                "--no-self-update",
            ],
            environ,
            home,
        )
        listed = _run([str(copy), "component", "list", "--installed"], environ, home)
        return f"{len(listed.splitlines())} components installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """`cargo fetch` of a tree of more than 130 crates with the real binary."""

    binary: Path
    title: str = f"cargo fetch of {ROOT_CRATE} and its dependencies"

    def run(self, mirror_url: str, home: Path) -> str:
        environ = _environment(mirror_url, home)
        environ["RUSTC"] = str(self.binary.with_name("rustc"))
        cargo_home = Path(environ["CARGO_HOME"])
        cargo_home.mkdir(parents=True, exist_ok=True)
        (cargo_home / "config.toml").write_text(
            '[source.crates-io]\nreplace-with = "mirror"\n'
            f'[source.mirror]\nregistry = "sparse+{mirror_url}/index/"\n'
        )
        project = home / "project"
        (project / "src").mkdir(parents=True)
        (project / "src" / "lib.rs").touch()
        (project / "Cargo.toml").write_text(
            '[package]\nname = "visitor"\nversion = "0.1.0"\nedition = "2021"\n\n'
            f'[dependencies]\n{ROOT_CRATE} = "1"\n'
        )
        _run([str(self.binary), "fetch"], environ, project)
        crates = len(list(cargo_home.glob("registry/cache/*/*.crate")))
        return f"{crates} crates fetched"


def find_rustup() -> Path | None:
    """Return the real rustup binary, if this user can run one."""
    found = shutil.which("rustup")
    return Path(found).resolve() if found else None


def find_cargo() -> Path | None:
    """Return a cargo that is not rustup's proxy: the proxy needs the visitor's homes."""
    rustup = shutil.which("rustup")
    if rustup is None:
        found = shutil.which("cargo")
        return Path(found).resolve() if found else None
    # In "/": a rust-toolchain file in the working directory must not start an installation.
    try:
        answer = subprocess.run(
            [rustup, "which", "cargo"],
            cwd="/",
            env=os.environ | {"RUSTUP_AUTO_INSTALL": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FIND_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    path = Path(answer.stdout.strip())
    return path if answer.returncode == 0 and path.is_file() else None


def find_host_triple(cargo: Path | None) -> str:
    """Return the target of this machine as the `rustc` beside `cargo` says it; "" without one.

    The simulated releases have a compiler for one target, and rustup installs its own machine's.
    """
    if cargo is None:
        return ""
    try:
        answer = subprocess.run(
            [cargo.with_name("rustc"), "-vV"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FIND_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (line.partition("host: ") for line in answer.stdout.splitlines())
    return next((triple.strip() for start, _, triple in lines if not start and triple), "")


def _environment(mirror_url: str, home: Path) -> dict[str, str]:
    """Return the environment of a client whose homes are below `home`."""
    return {
        "HOME": str(home),
        "CARGO_HOME": str(home / "cargo"),
        "RUSTUP_HOME": str(home / "rustup"),
        "RUSTUP_DIST_SERVER": mirror_url,
        "RUSTUP_UPDATE_ROOT": f"{mirror_url}/rustup",
        "RUSTUP_INIT_SKIP_PATH_CHECK": "yes",
        "PATH": f"{home / 'cargo' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "NO_PROXY": "*",
        "TERM": "dumb",
    }


def _run(command: list[str], environ: dict[str, str], folder: Path) -> str:
    """Run a client to its end and return its standard output. Raises DemoError."""
    process = subprocess.Popen(
        command,
        env=environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, complaint = process.communicate(timeout=_DEADLINE_S)
    except subprocess.TimeoutExpired as exc:
        raise DemoError(f"{Path(command[0]).name} did not end in {_DEADLINE_S:.0f} s") from exc
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        name = " ".join([Path(command[0]).name, *command[1:3]])
        raise DemoError(f"{name} failed", complaint[-_OUTPUT_TAIL:])
    return output
