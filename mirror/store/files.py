"""The seam for every file-system call of the store, and the real file system behind it.

Rules:
1. No other module of this room opens, syncs, renames or removes a file. The two exceptions are
   SQLite's own files and the shared page, which is a mapping and never meant to be durable.
2. Opens never follow a symbolic link at the last component (O_NOFOLLOW) and never leak into
   children (O_CLOEXEC). Reading opens do not block on a FIFO put in a file's place (O_NONBLOCK).
3. Methods raise OSError as the system gave it; `disk_errors` is where it becomes a StoreError.
4. A name is durable only after `sync_directory` of its directory, content only after `sync`.

Units: bytes and byte offsets.
Does not: retry, choose paths, or know what a blob is.
Runs in: worker (open_read, identify, pread, close) and keeper.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import Protocol

from mirror.errors import DiskTrouble, StoreError
from mirror.store.entry import Attestation

# SQLite integers are signed; some network file systems hand out inodes with the top bit set.
_INODE_MASK = (1 << 63) - 1
_UNCOUNTED_INODES = 1 << 62  # btrfs and some network file systems say 0 of 0
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_RESUME_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

# A file system that cannot say what of a file is in memory (RWF_NOWAIT).
_NOT_TOLD = frozenset((errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS))

_HINTS = {
    errno.ENOSPC: "the disk is full: lower [store] budget or free space",
    errno.EDQUOT: "the disk quota is used up: lower [store] budget or raise the quota",
    errno.EROFS: "the file system is read-only: mount it writable; one that became so by itself has"
    " met errors, see the kernel log",
    errno.EIO: "the disk reports errors: look at the kernel log",
    errno.EACCES: "let the mirror's user read and write here (chown, chmod)",
    errno.EMFILE: "too many open files: raise RLIMIT_NOFILE",
    errno.ENFILE: "the system has too many open files: raise fs.file-max",
    errno.EFBIG: "the process may not write files so long: raise RLIMIT_FSIZE",
}
_TROUBLES = {
    errno.ENOSPC: DiskTrouble.FULL,
    errno.EDQUOT: DiskTrouble.FULL,
    errno.EFBIG: DiskTrouble.FULL,
    errno.EIO: DiskTrouble.FAILING,
    errno.ENXIO: DiskTrouble.FAILING,
    errno.EROFS: DiskTrouble.READ_ONLY,
    errno.EACCES: DiskTrouble.READ_ONLY,
    errno.EPERM: DiskTrouble.READ_ONLY,
    errno.EMFILE: DiskTrouble.OPEN_FILES,
    errno.ENFILE: DiskTrouble.OPEN_FILES,
    errno.ENOENT: DiskTrouble.MISSING,
    errno.ESTALE: DiskTrouble.MISSING,
    errno.ENODEV: DiskTrouble.MISSING,
}


class Files(Protocol):
    """What the store asks of a file system."""

    def create(self, path: str) -> int:
        """Open a file that must not exist yet for reading and writing."""

    def resume(self, path: str) -> int:
        """Open an existing file for reading and writing."""

    def open_read(self, path: str) -> int: ...

    def pread(self, fd: int, size: int, offset: int) -> bytes: ...

    def open_aside(self, path: str) -> int:
        """As `open_read`, for `pread_aside`: nothing is read ahead."""

    def pread_aside(self, fd: int, size: int, offset: int) -> bytes:
        """As `pread`; leaves in the page cache what was there, and nothing else."""

    def pwrite(self, fd: int, content: bytes | memoryview, offset: int) -> int:
        """Return how many bytes were taken; may be fewer than given."""

    def truncate(self, fd: int, length: int) -> None: ...

    def sync(self, fd: int) -> None: ...

    def close(self, fd: int) -> None: ...

    def identify(self, fd: int) -> Attestation:
        """Raises OSError(ENXIO) for anything but a regular file."""

    def identify_path(self, path: str) -> Attestation: ...

    def rename(self, source: str, target: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def make_directory(self, path: str, mode: int) -> bool:
        """Return True when the directory was made, False when it was there."""

    def sync_directory(self, path: str) -> None: ...

    def list_directory(self, path: str) -> list[str]: ...

    def free_bytes(self, path: str) -> int: ...

    def taken_bytes(self, path: str) -> int:
        """Return what is used of the whole file system: no directory on it holds more."""

    def free_inodes(self, path: str) -> int:
        """Return a huge number where the file system does not count them."""

    def lock(self, path: str) -> int:
        """Take an exclusive `flock` that lasts until the descriptor is closed.

        Raises BlockingIOError when another open file description holds it.
        """


class RealFiles:
    """The operating system's file system."""

    def create(self, path: str) -> int:
        return os.open(path, _CREATE_FLAGS, 0o644)

    def resume(self, path: str) -> int:
        return os.open(path, _RESUME_FLAGS)

    def open_read(self, path: str) -> int:
        return os.open(path, _READ_FLAGS)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def open_aside(self, path: str) -> int:
        fd = os.open(path, _READ_FLAGS)
        with contextlib.suppress(OSError):  # advice; a FIFO in a file's place takes none
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        return fd

    def pread_aside(self, fd: int, size: int, offset: int) -> bytes:
        view = memoryview(bytearray(size))
        cached = _pread_cached(fd, view, offset)
        got = cached
        while got < size:
            count = os.preadv(fd, [view[got:]], offset + got)
            if not count:
                break
            got += count
        if got > cached:
            os.posix_fadvise(fd, offset + cached, got - cached, os.POSIX_FADV_DONTNEED)
        return bytes(view[:got])

    def pwrite(self, fd: int, content: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, content, offset)

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def identify(self, fd: int) -> Attestation:
        return _attestation(os.fstat(fd))

    def identify_path(self, path: str) -> Attestation:
        return _attestation(os.lstat(path))

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def make_directory(self, path: str, mode: int) -> bool:
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            return False
        return True

    def sync_directory(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def list_directory(self, path: str) -> list[str]:
        return os.listdir(path)

    def free_bytes(self, path: str) -> int:
        room = os.statvfs(path)
        return room.f_bavail * room.f_frsize

    def taken_bytes(self, path: str) -> int:
        room = os.statvfs(path)
        return (room.f_blocks - room.f_bfree) * room.f_frsize

    def free_inodes(self, path: str) -> int:
        room = os.statvfs(path)
        return room.f_favail if room.f_files else _UNCOUNTED_INODES

    def lock(self, path: str) -> int:
        fd = os.open(path, _LOCK_FLAGS, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd


REAL_FILES = RealFiles()  # stateless: one value serves every default argument


def _pread_cached(fd: int, view: memoryview, offset: int) -> int:
    """Read what is in memory anyway; 0 where the file system cannot tell."""
    try:
        return os.preadv(fd, [view], offset, os.RWF_NOWAIT)
    except OSError as exc:
        if exc.errno in _NOT_TOLD:
            return 0
        raise


def _attestation(found: os.stat_result) -> Attestation:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.ENXIO, "not a regular file")
    return Attestation(
        inode=found.st_ino & _INODE_MASK, size=found.st_size, ctime_ns=found.st_ctime_ns
    )


@contextlib.contextmanager
def disk_errors(source: str, *, noun: str = "store") -> Iterator[None]:
    """Translate every OSError of the block into a StoreError about `source`."""
    try:
        yield
    except OSError as exc:
        raise store_error(source, exc, noun=noun) from exc


def store_error(source: str, exc: OSError, *, noun: str = "store") -> StoreError:
    reason = exc.strerror or type(exc).__name__
    number = exc.errno or 0
    hint = _HINTS.get(number, "")
    return StoreError(source, reason, hint=hint, noun=noun, trouble=_TROUBLES.get(number))


def write_all(files: Files, fd: int, content: bytes | memoryview, offset: int) -> None:
    """Write the whole of `content` at `offset`. Raises OSError."""
    rest = memoryview(content)
    while rest:
        taken = files.pwrite(fd, rest, offset)
        if taken <= 0:  # POSIX allows it for no regular file; a loop for ever would be worse
            raise OSError(errno.EIO, "the file takes no more bytes")
        rest = rest[taken:]
        offset += taken


def read_all(files: Files, path: str, limit_bytes: int) -> bytes:
    """Read a small file whole. Raises OSError, EFBIG when it is longer than `limit_bytes`."""
    fd = files.open_read(path)
    try:
        size = files.identify(fd).size
        if size > limit_bytes:
            raise OSError(errno.EFBIG, f"longer than {limit_bytes} bytes")
        parts: list[bytes] = []
        at = 0
        while at < size:
            part = files.pread(fd, size - at, at)
            if not part:
                break
            parts.append(part)
            at += len(part)
        return b"".join(parts)
    finally:
        files.close(fd)


def replace_file(files: Files, path: str, content: bytes, *, durable: bool) -> None:
    """Put `content` at `path` in one step: temp beside it, rename over it. Raises OSError.

    `durable` syncs the content (not the directory). A temp left by an earlier crash is replaced.
    """
    temp = path + ".tmp"
    unlink_if_there(files, temp)
    fd = files.create(temp)
    try:
        try:
            write_all(files, fd, content, 0)
            if durable:
                files.sync(fd)
        finally:
            files.close(fd)
        files.rename(temp, path)
    except OSError:
        with contextlib.suppress(OSError):  # the first failure is the one to report
            files.unlink(temp)
        raise


def unlink_if_there(files: Files, path: str) -> None:
    """Raises OSError for anything but absence."""
    with contextlib.suppress(FileNotFoundError):
        files.unlink(path)
