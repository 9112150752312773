"""Reading pages of a stored file without stopping the event loop.

Rules:
1. A read takes only what is in the page cache (`RWF_NOWAIT`); what is not is brought there by a
   thread (measured on a cold 512 MB file: event-loop lag 9 ms at most, plain reads up to 330 ms).
2. One buffer serves every connection of a worker: its content is used before the next read and
   re-read after a pause, so a slow reader costs no buffer.
3. What is resident for certain may be sent by the kernel (`os.sendfile`) without passing this
   process; whether it is, is asked for each window.
4. File systems without RWF_NOWAIT answer EOPNOTSUPP and are read plainly from then on.

Units: bytes.
Runs in: worker (the loop, and a few threads for cold pages).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from mirror.serve.residency import Residency

WINDOW_BYTES: Final = 262_144  # measured: larger reads leave the cache of one core
# Of one `sendfile`: what the loop may have to wait for if pages leave the cache just then.
SENDING_BYTES: Final = 2 << 20
_WARM_BYTES: Final = 1 << 20
_WARMING_THREADS: Final = 8  # cold reads at once per worker; more only queue at the disk

T = TypeVar("T")


class FilePages:
    """The one read buffer of a worker and its threads for cold pages."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(WINDOW_BYTES))
        self._flags = os.RWF_NOWAIT
        self._residency = Residency()
        self._can_send = True
        self._threads = ThreadPoolExecutor(_WARMING_THREADS, thread_name_prefix="cold-pages")

    def read(self, fd: int, offset: int, size_bytes: int) -> memoryview | None:
        """Return up to `size_bytes` at `offset`, valid until the next read; None: not in memory.

        Empty at the end of the file. Raises OSError.
        """
        window = self._buffer[: min(size_bytes, WINDOW_BYTES)]
        try:
            return window[: self._preadv(fd, window, offset, self._flags)]
        except BlockingIOError:
            return None
        except OSError as exc:
            if exc.errno not in (errno.EOPNOTSUPP, errno.EINVAL) or not self._flags:
                raise
        self._flags = 0
        return window[: self._preadv(fd, window, offset, 0)]

    def _preadv(self, fd: int, window: memoryview, offset: int, flags: int) -> int:
        return os.preadv(fd, [window], offset, flags)

    def is_resident(self, fd: int, offset: int, size_bytes: int) -> bool:
        """Whether a part of the file, which must not reach beyond its end, needs no disk."""
        is_told = self._can_send and bool(self._flags)
        return is_told and self._residency.holds(fd, offset, size_bytes)

    def stop_sending(self) -> None:
        """Call nothing resident any more: the kernel cannot send files of this store."""
        self._can_send = False

    def warm(self, fd: int, offset: int) -> asyncio.Future[None]:
        """Bring the pages behind `offset` into memory in a thread; `fd` must stay open until then.

        An I/O error is not reported here: the read that follows meets it.
        """
        return asyncio.get_running_loop().run_in_executor(self._threads, _touch, fd, offset)

    def run(self, load: Callable[[], T]) -> asyncio.Future[T]:
        """Have a thread run `load`, which may wait for the disk."""
        return asyncio.get_running_loop().run_in_executor(self._threads, load)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _touch(fd: int, offset: int) -> None:
    try:
        os.posix_fadvise(fd, offset, _WARM_BYTES, os.POSIX_FADV_WILLNEED)
        os.pread(fd, _WARM_BYTES, offset)
    except OSError:
        return
