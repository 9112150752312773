"""rustup's own files: what self-update and the installer script ask for.

Rules:
1. `release-stable.toml` names the newest version; `archive/<version>/` keeps every one.
2. With a real rustup binary given, that is served as `rustup-init` under every version, because
   rustup runs what it downloaded with `--self-replace`; without one a shell script stands in.

Runs in: simulator.
"""

from __future__ import annotations

from pathlib import Path

from mirror.simulator.contents import (
    Content,
    FileContent,
    FixedContent,
    LazyContent,
    digest_line,
)
from mirror.simulator.published import Shelf

FIRST_RUSTUP = "1.29.0"
_INSTALLER = b"""#!/bin/sh
# Stands in for the installer script of the simulated upstream.
echo "simulated rustup-init.sh"
"""


class RustupFiles:
    """Publishes rustup releases onto a shelf."""

    def __init__(self, shelf: Shelf, *, host: str, binary: Path | None, version: str) -> None:
        self._shelf = shelf
        self._host = host
        self._binary = FileContent(binary) if binary else None
        self._next = version
        self.version = ""

    def publish_next(self, at: int) -> str:
        """Publish the next version and return it."""
        self.version = self._next
        major, minor, patch = self.version.split(".")
        self._next = f"{major}.{minor}.{int(patch) + 9}"
        content = self._binary or _stand_in(self.version)
        for folder in (f"archive/{self.version}", "dist"):
            path = f"/rustup/{folder}/{self._host}/rustup-init"
            self._shelf.put(path, content, last_modified_at=at)
            self._shelf.put(path + ".sha256", _digest_file(content), last_modified_at=at)
        release = f"schema-version = '1'\nversion = '{self.version}'\n".encode()
        self._shelf.put("/rustup/release-stable.toml", FixedContent(release), last_modified_at=at)
        self._shelf.put("/rustup/rustup-init.sh", FixedContent(_INSTALLER), last_modified_at=at)
        return self.version


def _stand_in(version: str) -> Content:
    script = f'#!/bin/sh\necho "rustup-init {version} (simulated)"\n'
    return FixedContent(script.encode())


def _digest_file(content: Content) -> Content:
    return LazyContent(lambda: digest_line(content, "*rustup-init"))
