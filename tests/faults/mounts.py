"""File systems of a test's own: a small tmpfs, and a directory that becomes read-only.

Rules:
1. Mounting needs rights that not every machine gives; `may_mount` asks by doing it once.
2. What was mounted is unmounted when the block ends, also lazily, because processes may still be in
   it.

Runs in: tests.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@functools.cache
def may_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        if not _run("mount", "-t", "tmpfs", "-o", "size=1m", "none", folder):
            return False
        return _run("umount", folder)


def require_mounts() -> None:
    """Skip the test, and say so, where mounting is not allowed."""
    if not may_mount():
        pytest.skip("mounting is not allowed here: a tmpfs needs CAP_SYS_ADMIN")


@contextlib.contextmanager
def tmpfs(folder: Path, size_bytes: int, *, inodes: int = 0) -> Iterator[Path]:
    """Hold an empty file system of `size_bytes` at `folder`; `inodes` 0: as many as fit."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_bytes}" + (f",nr_inodes={inodes}" if inodes else "")
    assert _run("mount", "-t", "tmpfs", "-o", options, "none", str(folder))
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody who comes by the path of `folder` change anything below it."""
    assert _run("mount", "--bind", str(folder), str(folder))
    try:
        assert _run("mount", "-o", "remount,bind,ro", str(folder))
        yield
    finally:
        _run("umount", "--lazy", str(folder))


def fill_up(folder: Path, *, leave_bytes: int = 0) -> Path:
    """Take all room of the file system with one file, that of an earlier call if there is one;
    return it, to be removed or cut."""
    path = folder / "others.bin"
    block = bytes(65536)
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(block)
    if leave_bytes:
        with path.open("r+b") as file:
            file.truncate(max(0, path.stat().st_size - leave_bytes))
    return path
