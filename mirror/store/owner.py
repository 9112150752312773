"""Who owns a store: the lock, the format version, the directories.

Rules:
1. One running mirror per store and per state directory; the kernel drops the lock with its process.
2. The format version is written with the first commit of a store and checked ever after; a store of
   another version is refused, never converted in passing.

Runs in: keeper.
"""

from __future__ import annotations

import contextlib
import errno
import os.path
from collections.abc import Iterator
from dataclasses import dataclass

from mirror.errors import StoreError
from mirror.store.files import Files, disk_errors, read_all, replace_file, store_error
from mirror.store.layout import FORMAT, Layout

_STORE_MODE = 0o755
_STATE_MODE = 0o700
_FORMAT_LIMIT_BYTES = 4096
_WRONG_PLACE = frozenset(
    (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENOENT)
)
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
    with _place_errors(layout.root, "store"):
        make_path(files, layout.root, _STORE_MODE)
    with _place_errors(state_path, "state"):
        make_path(files, state_path, _STATE_MODE)
    held: list[int] = []
    try:
        for path, noun in ((layout.lock, "store"), (f"{state_path}/{STATE_LOCK}", "state")):
            with _place_errors(path, noun):
                held.append(_lock(files, path, noun))
        _check_format(files, layout)
        with _place_errors(layout.root, "store"):
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


@contextlib.contextmanager
def _place_errors(path: str, noun: str) -> Iterator[None]:
    """Translate every OSError of the block; a path that cannot be used gets the way out."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in _WRONG_PLACE:
            raise store_error(path, exc, noun=noun) from exc
        hint = f"name a directory that this user can write: --set {noun}.path=…"
        raise StoreError(path, exc.strerror or "cannot be used", hint=hint, noun=noun) from exc


def _lock(files: Files, path: str, noun: str) -> int:
    try:
        return files.lock(path)
    except BlockingIOError as exc:
        raise StoreError(
            path,
            "another running mirror owns it",
            hint="stop that one, or give this one another [store] path and [state] path",
            noun=noun,
        ) from exc


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
