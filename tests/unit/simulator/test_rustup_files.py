from __future__ import annotations

import hashlib
from pathlib import Path

from mirror.simulator.published import Shelf
from mirror.simulator.rustup_files import RustupFiles

HOST = "x86_64-unknown-linux-gnu"


def read(shelf: Shelf, path: str) -> bytes:
    published = shelf.find(path)
    assert published is not None, path
    return published.content.read(0, published.content.length)


def test_head_file_names_the_newest_version_and_old_ones_stay() -> None:
    shelf = Shelf()
    files = RustupFiles(shelf, host=HOST, binary=None, version="1.29.0")
    assert files.publish_next(1) == "1.29.0"
    first = read(shelf, f"/rustup/archive/1.29.0/{HOST}/rustup-init")
    assert files.publish_next(2) == "1.29.9"
    assert read(shelf, "/rustup/release-stable.toml").endswith(b"version = '1.29.9'\n")
    assert read(shelf, f"/rustup/archive/1.29.0/{HOST}/rustup-init") == first
    assert read(shelf, f"/rustup/dist/{HOST}/rustup-init") != first


def test_real_binary_is_served_with_its_digest(tmp_path: Path) -> None:
    binary = tmp_path / "rustup"
    binary.write_bytes(b"real")
    shelf = Shelf()
    RustupFiles(shelf, host=HOST, binary=binary, version="1.29.0").publish_next(1)
    assert read(shelf, f"/rustup/dist/{HOST}/rustup-init") == b"real"
    digest = hashlib.sha256(b"real").hexdigest().encode()
    assert read(shelf, f"/rustup/dist/{HOST}/rustup-init.sha256").startswith(digest + b" *")
