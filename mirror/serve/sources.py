"""Where the sender takes content from: a stored file, or memory.

Rules:
1. A window is valid until the next read, and is read again after a pause: nothing is kept per
   reader but its offset.
2. Content in memory is one object for everybody who is sent it; a window is a view, not a copy.

Units: bytes, half-open offsets.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from mirror.serve.file_pages import FilePages


class Source(Protocol):
    """Bytes at offsets; owned and closed by one sender."""

    def read(self, offset: int, size_bytes: int) -> memoryview | None:
        """Return up to `size_bytes` at `offset`, empty at the end; None: not in memory.

        Raises: OSError.
        """

    def warm(self, offset: int) -> asyncio.Future[None]:
        """Bring what is behind `offset` into memory; the source must stay open until then."""

    def close(self) -> None:
        """Called once, and never while `warm` is under way."""


class FileSource:
    """A descriptor, which it owns, read through the worker's one buffer."""

    __slots__ = ("_fd", "_pages")

    def __init__(self, pages: FilePages, fd: int) -> None:
        self._pages = pages
        self._fd = fd

    def read(self, offset: int, size_bytes: int) -> memoryview | None:
        return self._pages.read(self._fd, offset, size_bytes)

    @property
    def fd(self) -> int:
        """To be sent from; not beyond `close`."""
        return self._fd

    def is_resident(self, offset: int, size_bytes: int) -> bool:
        """See `FilePages.is_resident`."""
        return self._pages.is_resident(self._fd, offset, size_bytes)

    def stop_sending(self) -> None:
        """See `FilePages.stop_sending`."""
        self._pages.stop_sending()

    def warm(self, offset: int) -> asyncio.Future[None]:
        return self._pages.warm(self._fd, offset)

    def close(self) -> None:
        os.close(self._fd)


class ContentSource:
    """Content in memory, let go when it is closed."""

    __slots__ = ("_view",)

    def __init__(self, content: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(content)

    def read(self, offset: int, size_bytes: int) -> memoryview | None:
        return self._view[offset : offset + size_bytes]

    def warm(self, offset: int) -> asyncio.Future[None]:
        """Nothing is ever cold here, so nobody calls this."""
        warmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        warmed.set_result(None)
        return warmed

    def close(self) -> None:
        self._view.release()
