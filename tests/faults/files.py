"""A file system that fails when told to: errors at the k-th call, process death, power cuts.

Rules:
1. Every call of the Files Protocol counts, in order, from 1; `calls` names them.
2. `fail_at` fires once (or, with `for_good`, from there on); `fired` counts how often.
3. After `die_at` fired every call raises `DeadProcessError`: a dead process does nothing.
4. A power cut undoes names that no directory sync made durable, and zeroes content that no sync
   did: the worst that a file system may do.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, field

from mirror.store.entry import Attestation
from mirror.store.files import RealFiles

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class DeadProcessError(BaseException):
    """The process is gone; not an Exception, so that no handler of the product runs on."""


class FaultFiles:
    """The real file system with faults in front of it."""

    def __init__(self) -> None:
        self._real = RealFiles()
        self._fail_at = 0
        self._error = 0
        self._for_good = False
        self._die_at = 0
        self._is_dead = False
        self.calls: list[str] = []
        self.open_files: set[int] = set()
        self.fired = 0
        self.free: int | None = None
        self.inodes: int | None = None
        self.taken: int | None = None
        self.longest_write = 1 << 62
        self.boot = "boot-1"
        self.damaged: set[str] = set()

    def fail_at(self, call: int, error: int, *, for_good: bool = False) -> None:
        """Make the `call`-th call from here on raise `error`."""
        self.calls.clear()
        self.fired = 0
        self._fail_at, self._error, self._for_good = call, error, for_good

    def die_at(self, call: int) -> None:
        """Let the process die just before the `call`-th call from here on."""
        self.calls.clear()
        self.fired = 0
        self._die_at = call

    def heal(self) -> None:
        self._fail_at = self._die_at = 0

    def bury(self) -> None:
        """Close what the dead process had open, as the kernel would."""
        self._is_dead = True
        for fd in self.open_files:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.open_files.clear()

    def create(self, path: str) -> int:
        self._count("create", path)
        return self._opened(self._real.create(path))

    def resume(self, path: str) -> int:
        self._count("resume", path)
        return self._opened(self._real.resume(path))

    def open_read(self, path: str) -> int:
        if path == _BOOT_ID:
            fd = os.memfd_create("boot")
            os.pwrite(fd, self.boot.encode(), 0)
            return self._opened(fd)
        self._count("open_read", path)
        return self._opened(self._real.open_read(path))

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        path = os.readlink(f"/proc/self/fd/{fd}")
        self._count("pread", path)
        if path in self.damaged:
            raise OSError(errno.EIO, "injected bad sector")
        return self._real.pread(fd, size, offset)

    def open_aside(self, path: str) -> int:
        self._count("open_aside", path)
        return self._opened(self._real.open_aside(path))

    def pread_aside(self, fd: int, size: int, offset: int) -> bytes:
        path = os.readlink(f"/proc/self/fd/{fd}")
        self._count("pread_aside", path)
        if path in self.damaged:
            raise OSError(errno.EIO, "injected bad sector")
        return self._real.pread_aside(fd, size, offset)

    def pwrite(self, fd: int, content: bytes | memoryview, offset: int) -> int:
        self._count("pwrite", str(len(content)))
        return self._real.pwrite(fd, memoryview(content)[: self.longest_write], offset)

    def truncate(self, fd: int, length: int) -> None:
        self._count("truncate", str(length))
        self._real.truncate(fd, length)

    def sync(self, fd: int) -> None:
        self._count("sync", str(fd))  # and no fsync: a killed process does not need the disk

    def close(self, fd: int) -> None:
        if self._is_dead:
            return
        self.open_files.discard(fd)
        self._real.close(fd)
        self._count("close", str(fd))  # Linux closes the descriptor, whatever it reports

    def identify(self, fd: int) -> Attestation:
        self._count("identify", str(fd))
        return self._real.identify(fd)

    def identify_path(self, path: str) -> Attestation:
        self._count("identify_path", path)
        return self._real.identify_path(path)

    def rename(self, source: str, target: str) -> None:
        self._count("rename", f"{source} {target}")
        self._real.rename(source, target)

    def unlink(self, path: str) -> None:
        self._count("unlink", path)
        self._real.unlink(path)

    def make_directory(self, path: str, mode: int) -> bool:
        self._count("make_directory", path)
        return self._real.make_directory(path, mode)

    def sync_directory(self, path: str) -> None:
        self._count("sync_directory", path)

    def list_directory(self, path: str) -> list[str]:
        self._count("list_directory", path)
        return self._real.list_directory(path)

    def free_bytes(self, path: str) -> int:
        self._count("free_bytes", path)
        return self._real.free_bytes(path) if self.free is None else self.free

    def taken_bytes(self, path: str) -> int:
        self._count("taken_bytes", path)
        return self._real.taken_bytes(path) if self.taken is None else self.taken

    def free_inodes(self, path: str) -> int:
        self._count("free_inodes", path)
        return self._real.free_inodes(path) if self.inodes is None else self.inodes

    def lock(self, path: str) -> int:
        self._count("lock", path)
        return self._opened(self._real.lock(path))

    def _opened(self, fd: int) -> int:
        self.open_files.add(fd)
        return fd

    def _count(self, method: str, subject: str) -> None:
        if self._is_dead:
            raise DeadProcessError
        self.calls.append(f"{method} {subject}")
        number = len(self.calls)
        if number == self._die_at:
            self.fired += 1
            self._is_dead = True
            raise DeadProcessError
        if number == self._fail_at or (self._for_good and 0 < self._fail_at <= number):
            self.fired += 1
            raise OSError(self._error, f"injected at call {number}: {method}")


@dataclass(slots=True)
class _Name:
    """One change of a directory that no sync has made durable yet."""

    directory: str
    undo: list[tuple[str, ...]] = field(default_factory=list)


class PowerCutFiles(FaultFiles):
    """Remembers what is not durable; `cut` takes it away.

    Removals count as durable at once: the store never relies on one that it did not sync, and
    keeping removed names would only give the store more than it may expect.
    """

    def __init__(self, attic: str) -> None:
        super().__init__()
        self._attic = attic
        self._names: list[_Name] = []
        self._unsynced: dict[int, str] = {}
        self._kept = 0

    def create(self, path: str) -> int:
        fd = super().create(path)
        self._names.append(_Name(os.path.dirname(path), [("remove", path)]))
        return fd

    def pwrite(self, fd: int, content: bytes | memoryview, offset: int) -> int:
        taken = super().pwrite(fd, content, offset)
        self._unsynced[os.fstat(fd).st_ino] = self._hold(os.readlink(f"/proc/self/fd/{fd}"))
        return taken

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._unsynced.pop(os.fstat(fd).st_ino, None)

    def rename(self, source: str, target: str) -> None:
        undo: list[tuple[str, ...]] = [("move", target, source)]
        if os.path.exists(target):
            undo.append(("link", self._hold(target), target))
        super().rename(source, target)
        self._names.append(_Name(os.path.dirname(target), undo))

    def make_directory(self, path: str, mode: int) -> bool:
        made = super().make_directory(path, mode)
        if made:
            self._names.append(_Name(os.path.dirname(path), [("remove", path)]))
        return made

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        self._names = [name for name in self._names if name.directory != path]

    def cut(self) -> None:
        """Undo what was not durable, newest first, and begin another boot."""
        self.bury()
        for held in self._unsynced.values():
            size = os.path.getsize(held)
            with open(held, "r+b") as file:
                file.write(b"\0" * size)
        for name in reversed(self._names):
            for step in name.undo:
                with contextlib.suppress(OSError):
                    _undo(step)

    def _hold(self, path: str) -> str:
        """Give the file a second name, so that it can be reached whatever happens to the first."""
        self._kept += 1
        held = os.path.join(self._attic, str(self._kept))
        os.link(path, held)
        return held


def _undo(step: tuple[str, ...]) -> None:
    if step[0] == "move":
        os.rename(step[1], step[2])
    elif step[0] == "link":
        os.link(step[1], step[2])
    elif os.path.isdir(step[1]):
        os.rmdir(step[1])
    else:
        os.unlink(step[1])
