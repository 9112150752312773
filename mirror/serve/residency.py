"""Whether a window of a file is in the page cache, so that `sendfile` does not wait for the disk.

Rules:
1. `cachestat` (Linux 6.5) counts the pages of the window that are in the cache; a read of one byte
   at its end that may not wait (`RWF_NOWAIT`) says that they have arrived, for a page that is on
   its way from the disk counts as cached. They may arrive in any order, so a reader that had them
   read trusts no further answer (`sender`); where another has the middle under way, rule 3 holds.
2. Where there is no `cachestat` (an older kernel, a seccomp filter, or a kernel that shows it to
   owners only) a byte is read every `STEP_BYTES`: what the kernel reads ahead is larger.
3. A page that leaves the cache between the answer and the sending, or has not arrived, is waited
   for by `sendfile`, on the loop: one window at most, which the caller bounds (`file_pages`).

Measured on a busy machine, a window of 2 MiB: 2.3 us with `cachestat`, 33 us without; to send the
window takes more than 400 us.

Units: bytes.
Runs in: worker.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Final

STEP_BYTES: Final = 65_536
_SYS_CACHESTAT: Final = 451  # the same number on every architecture since it is there
_PAGE_BYTES: Final = os.sysconf("SC_PAGESIZE")


class _Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Cached(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("pages", "dirty", "writeback", "evicted", "recently_evicted")
    )


class Residency:
    """Asks the kernel; one per worker."""

    __slots__ = ("_byte", "_cached", "_has_cachestat", "_into", "_of", "_range", "_syscall")

    def __init__(self, *, has_cachestat: bool = True) -> None:
        """`has_cachestat` False: do not try it."""
        self._byte = [bytearray(1)]
        self._range = _Range()
        self._cached = _Cached()
        self._of = ctypes.byref(self._range)
        self._into = ctypes.byref(self._cached)
        self._has_cachestat = has_cachestat
        self._syscall: Callable[..., int] = ctypes.CDLL(None).syscall

    def __repr__(self) -> str:
        return f"<Residency by {'cachestat' if self._has_cachestat else 'reading bytes'}>"

    def holds(self, fd: int, offset: int, size_bytes: int) -> bool:
        """Whether all of `[offset, offset + size_bytes)` is there, which must be in the file."""
        last = offset + size_bytes - 1
        if not self._has_byte(fd, last):
            return False
        if self._has_cachestat:
            first = offset - offset % _PAGE_BYTES
            self._range.offset = first
            self._range.length = last + 1 - first
            if self._syscall(_SYS_CACHESTAT, fd, self._of, self._into, 0) == 0:
                pages: int = self._cached.pages
                return pages * _PAGE_BYTES >= last + 1 - first
            self._has_cachestat = False
        return all(self._has_byte(fd, at) for at in range(offset, last, STEP_BYTES))

    def _has_byte(self, fd: int, at: int) -> bool:
        try:
            return os.preadv(fd, self._byte, at, os.RWF_NOWAIT) == 1
        except OSError:
            return False  # not there, or a file system that cannot say: it is read, not sent
