"""Reading blobs whole without taking the page cache away from those who serve.

Rules:
1. What was in the page cache before stays there, what this read brought in goes again. The kernel
   is asked first what it has (RWF_NOWAIT); read-ahead is off, so that nothing more comes in.
2. A file that changes while it is read is told, never judged.

Units: bytes.
Runs in: commands and keeper (jobs); a thread (about 1 s per GB).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator

from mirror.store.entry import Attestation
from mirror.store.files import REAL_FILES

STEP_BYTES = 1 << 20
_NOT_TOLD = frozenset((errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS))


class ChangedError(OSError):
    """The file is another one, or has another size, than when its reading began."""


def read_pieces(path: str) -> Iterator[bytes]:
    """Yield the content of a regular file. Raises OSError; ChangedError at its end."""
    fd = REAL_FILES.open_read(path)
    try:
        before = REAL_FILES.identify(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        at = 0
        # Not to the end of a file that somebody appends to as fast as it is read.
        while at <= before.size and (piece := _read_step(fd, at)):
            yield piece
            at += len(piece)
        if REAL_FILES.identify(fd) != before or at != before.size:
            raise ChangedError(errno.ESTALE, "changed while it was read")
    finally:
        os.close(fd)


def hash_file(path: str, progress: Callable[[int], None] = lambda _: None) -> bytes:
    """Return the sha256 of a file's content; `progress` gets the bytes of each step.

    Raises: OSError; FileNotFoundError when it is absent, ChangedError when it changed meanwhile.
    """
    running = hashlib.sha256()
    for piece in read_pieces(path):
        running.update(piece)
        progress(len(piece))
    return running.digest()


def identify(path: str) -> Attestation | None:
    """Return which file lies there; None when it is absent or no regular file."""
    try:
        return REAL_FILES.identify_path(path)
    except OSError:
        return None


def _read_step(fd: int, at: int) -> bytes:
    buffer = bytearray(STEP_BYTES)
    view = memoryview(buffer)
    cached = _read_cached(fd, view, at)
    got = cached
    while got < STEP_BYTES:
        count = os.preadv(fd, [view[got:]], at + got)
        if not count:
            break
        got += count
    if got > cached:
        os.posix_fadvise(fd, at + cached, got - cached, os.POSIX_FADV_DONTNEED)
    return bytes(view[:got])


def _read_cached(fd: int, view: memoryview, at: int) -> int:
    """Read what is in memory anyway; 0 where the file system cannot tell."""
    try:
        return os.preadv(fd, [view], at, os.RWF_NOWAIT)
    except OSError as exc:
        if exc.errno in _NOT_TOLD:
            return 0
        raise
