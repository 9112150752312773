"""Who owns a store: the lock, the format version, the directories.

Rules:
1. One running mirror per store and per state directory; the kernel drops the lock with its process.
2. The format version is written with the first commit of a store and checked ever after; a store of
   another version is refused, never converted in passing.

Runs in: keeper.
"""

from __future__ import annotations

import contextlib
import os.path
from dataclasses import dataclass

from mirror.errors import StoreError
from mirror.store.files import Files, disk_errors, read_all, replace_file
from mirror.store.layout import FORMAT, Layout

_STORE_MODE = 0o755
_STATE_MODE = 0o700
_FORMAT_LIMIT_BYTES = 4096
STATE_LOCK = "state.lock"  # not "lock": the state directory holds other processes' files too


@dataclass(frozen=True, slots=True)
class Ownership:
    """The held locks; `release` when the store is closed."""

    files: Files
    descriptors: tuple[int, ...]

    def release(self) -> None:
        for fd in self.descriptors:
            with contextlib.suppress(OSError):
                self.files.close(fd)


def claim(files: Files, layout: Layout, state_path: str) -> Ownership:
    """Make the directories, take both locks and check the format. Raises StoreError."""
    with disk_errors(layout.root):
        make_path(files, layout.root, _STORE_MODE)
    with disk_errors(state_path):
        make_path(files, state_path, _STATE_MODE)
    held: list[int] = []
    try:
        for path in (layout.lock, f"{state_path}/{STATE_LOCK}"):
            held.append(_lock(files, path))
        _check_format(files, layout)
        with disk_errors(layout.root):
            for path in (layout.blobs, layout.partials, layout.heads, layout.quarantine):
                files.make_directory(path, _STORE_MODE)
            files.sync_directory(layout.root)
    except BaseException:
        Ownership(files, tuple(held)).release()
        raise
    return Ownership(files, tuple(held))


def make_path(files: Files, path: str, mode: int) -> None:
    """Make `path` and what is missing above it. Raises OSError."""
    try:
        files.make_directory(path, mode)
    except FileNotFoundError:
        make_path(files, os.path.dirname(path), 0o755)
        files.make_directory(path, mode)


def _lock(files: Files, path: str) -> int:
    try:
        return files.lock(path)
    except BlockingIOError as exc:
        raise StoreError(
            path,
            "another running mirror owns it",
            hint="stop that one, or give this one another [store] path and [state] path",
        ) from exc
    except OSError as exc:
        raise StoreError(path, exc.strerror or "cannot be locked") from exc


def _check_format(files: Files, layout: Layout) -> None:
    with disk_errors(layout.format):
        try:
            found = read_all(files, layout.format, _FORMAT_LIMIT_BYTES)
        except FileNotFoundError:
            replace_file(files, layout.format, FORMAT.encode(), durable=True)
            return
    if found != FORMAT.encode():
        stated = found[:60].decode("ascii", "replace").strip()
        raise StoreError(
            layout.format,
            f"states {stated!r}, this version keeps {FORMAT.strip()!r}",
            hint="use another [store] path, or the version that made this one",
            retryable=False,
        )
