"""SQLite on a disk that loses what was not synced: the power cut of `files`, for databases.

Rules:
1. While it is registered, every file that SQLite syncs is copied beside itself.
2. `cut` puts the copies in the place of the files; what was never synced is gone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import apsw

_SUFFIX = ".synced"
_REAL = "unix"


class _File(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(_REAL, name, flags)
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        if self._path is not None:
            shutil.copyfile(self._path, self._path + _SUFFIX)


class _Vfs(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("synced-copies", _REAL, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(name, flags)


@contextlib.contextmanager
def synced_copies(path: str) -> Iterator[None]:
    """Register it for connections that are opened in the block; the database at `path`, as it
    stands before, counts as synced."""
    for name in (path, f"{path}-wal"):
        if os.path.exists(name):
            shutil.copyfile(name, name + _SUFFIX)
    vfs = _Vfs()
    try:
        yield
    finally:
        vfs.unregister()


def cut(path: str) -> int:
    """Leave of the database at `path` what was synced; return how many files lost something."""
    lost = 0
    for name in (path, f"{path}-wal"):
        synced = _read(name + _SUFFIX)
        lost += _read(name) != synced
        if synced is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        else:
            with open(name, "wb") as file:
                file.write(synced)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}-shm")
    return lost


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
