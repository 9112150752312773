"""Stands in for rustup and cargo where they are not installed: the same requests, checked the same.

Rules:
1. What real clients check is checked: `.sha256` against the manifest, the manifest's hash against
   each archive, the index `cksum` against each crate.
2. Nothing is unpacked or kept.

Runs in: the demo.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import platform
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mirror.cli.demo_clients import ROOT_CRATE
from mirror.cli.demo_mirror import DemoError

_TIMEOUT_S = 60.0
_DEFAULT_PROFILE = ("rustc", "cargo", "rust-std", "rust-docs", "rustfmt-preview", "clippy-preview")


@dataclass(frozen=True, slots=True, kw_only=True)
class LikeRustup:
    """Asks for what `rustup toolchain install` of the default profile asks for."""

    title: str = "built-in client: requests like rustup toolchain install stable"

    def run(self, mirror_url: str, home: Path) -> str:
        with _Connection(mirror_url) as connection:
            manifest = connection.get("/dist/channel-rust-stable.toml")
            stated = connection.get("/dist/channel-rust-stable.toml.sha256").split()[0].decode()
            _agree(manifest, stated, "channel-rust-stable.toml")
            packages = tomllib.loads(manifest.decode())["pkg"]
            target = f"{platform.machine()}-unknown-linux-gnu"
            for name in _DEFAULT_PROFILE:
                archive = packages[name]["target"][target]
                content = connection.get(urlsplit(archive["xz_url"]).path)
                _agree(content, archive["xz_hash"], name)
        return f"{len(_DEFAULT_PROFILE)} components fetched and checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class LikeCargo:
    """Asks for what `cargo fetch` asks for: config.json, the index files of a tree, the crates."""

    title: str = f"built-in client: requests like cargo fetch of {ROOT_CRATE}"

    def run(self, mirror_url: str, home: Path) -> str:
        with _Connection(mirror_url) as connection:
            download = urlsplit(json.loads(connection.get("/index/config.json"))["dl"]).path
            chosen: dict[str, dict[str, Any]] = {}
            wanted = [ROOT_CRATE]
            while wanted:
                name = wanted.pop()
                if name in chosen:
                    continue
                lines = connection.get(f"/index/{_index_path(name)}").splitlines()
                versions = [json.loads(line) for line in lines]
                chosen[name] = [each for each in versions if not each["yanked"]][-1]
                wanted += [
                    dependency.get("package") or dependency["name"]
                    for dependency in chosen[name]["deps"]
                    if dependency["kind"] != "dev" and not dependency["optional"]
                ]
            for name, version in chosen.items():
                content = connection.get(_crate_path(download, name, version))
                _agree(content, version["cksum"], name)
        return f"{len(chosen)} crates fetched and checked"


class _Connection:
    """One keep-alive connection to the mirror."""

    def __init__(self, mirror_url: str) -> None:
        self._connection = http.client.HTTPConnection(
            urlsplit(mirror_url).netloc, timeout=_TIMEOUT_S
        )

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()

    def get(self, path: str) -> bytes:
        """Return the content. Raises DemoError for anything but 200."""
        try:
            self._connection.request("GET", path, headers={"User-Agent": "rust-mirror-demo"})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise DemoError(f"GET {path} failed: {exc}") from exc
        if response.status != 200:
            raise DemoError(f"GET {path} was answered {response.status}")
        return content


def _agree(content: bytes, stated: str, name: str) -> None:
    if hashlib.sha256(content).hexdigest() != stated:
        raise DemoError(f"{name}: its bytes do not have the stated digest")


def _crate_path(download: str, name: str, version: dict[str, Any]) -> str:
    """Return the path of a crate by the rule of config.json: markers, or none and a suffix."""
    if "{" not in download:
        return f"{download}/{name}/{version['vers']}/download"
    return (
        download.replace("{crate}", name)
        .replace("{version}", version["vers"])
        .replace("{sha256-checksum}", version["cksum"])
    )


def _index_path(name: str) -> str:
    """Return the path of a crate's file in a sparse index."""
    lower = name.lower()
    if len(lower) <= 2:
        return f"{len(lower)}/{lower}"
    if len(lower) == 3:
        return f"3/{lower[0]}/{lower}"
    return f"{lower[:2]}/{lower[2:4]}/{lower}"
