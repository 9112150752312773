"""The sender of segments: reads a window, writes it, stops when the client is slower.

Rules:
1. What the outlet does not take of a window is read again later: nothing is kept per reader.
2. An outlet that took less than it was given may take more at once; then nobody will call back, so
   the sender goes on unless the outlet says that it is paused (the other order hangs).
3. At most `TURN_BYTES` per turn of the loop, so that a fast reader starves nobody.
4. A file is sent by the kernel (`send_file`) while its next window is in the page cache and the
   outlet is a plain socket; else it is read, and what is cold is brought in by a thread. From the
   first window that is not there the rest is read: pages on their way from the disk come in any
   order, and `sendfile` would wait for one in the middle.
5. The sender owns its source and closes it once, after the last thread has left it.

Units: bytes, half-open offsets.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Final, Protocol

from mirror.serve.file_pages import SENDING_BYTES
from mirror.serve.outlet import Outlet as SocketOutlet
from mirror.serve.sources import FileSource, Source

TURN_BYTES: Final = 4 << 20
UNSENDABLE: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class Outlet(Protocol):
    """A stream, as the sender sees it."""

    @property
    def is_paused(self) -> bool: ...

    @property
    def room_bytes(self) -> int:
        """More need not be read for it."""

    def write_some(self, view: memoryview) -> int:
        """Take bytes; how many were taken. Raises ConnectionError when it is gone."""


class ShortSourceError(OSError):
    """The source ended before the segment did."""


class Sender:
    """Sends `[at, end)` of one source; `end` may move on between calls."""

    __slots__ = (
        "_done",
        "_end",
        "_is_closed",
        "_is_cold",
        "_is_pumping",
        "_is_warming",
        "_outlet",
        "_sent",
        "_source",
        "at",
    )

    def __init__(
        self,
        outlet: Outlet,
        source: Source,
        at: int,
        sent: Callable[[int], None],
    ) -> None:
        """`sent` is told how many bytes went out, after each turn that sent some."""
        self._outlet = outlet
        self._source = source
        self._sent = sent
        self._done: Callable[[OSError | None], None] = _ignore
        self._end = at
        self._is_closed = False
        self._is_cold = False  # was, of a file; so it is read
        self._is_pumping = False
        self._is_warming = False
        self.at = at

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "warming" if self._is_warming else "open"
        return f"<Sender {self.at}/{self._end} {state}>"

    def send_until(self, end: int, done: Callable[[OSError | None], None]) -> None:
        """Send up to `end`, then call `done` with None, or with what went wrong.

        `done` may be called before this returns; never after `close`.
        """
        self._end = end
        self._done = done
        self.resume()

    async def send(self, end: int) -> None:
        """Send up to `end`. Raises OSError. When cancelled the sender must be closed."""
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(failure: OSError | None) -> None:
            if finished.done():
                return
            if failure is None:
                finished.set_result(None)
            else:
                finished.set_exception(failure)

        self.send_until(end, settle)
        await finished

    def resume(self) -> None:
        """Go on after a pause; harmless at any time."""
        if self._is_pumping or self._is_warming or self._is_closed:
            return
        self._is_pumping = True
        before = self.at
        failure: OSError | None = None
        try:
            self._pump()
        except OSError as exc:
            failure = exc
        finally:
            self._is_pumping = False
        if self.at != before:
            self._sent(self.at - before)
        if failure is not None or (self.at == self._end and not self._is_closed):
            done, self._done = self._done, _ignore
            done(failure)

    @property
    def source(self) -> Source:
        """Where it sends from."""
        return self._source

    def replace(self, source: Source) -> None:
        """Go on at the same offset in another source of the same bytes; not while one is warmed."""
        self._source.close()
        self._source = source

    def close(self) -> None:
        """Stop for good; idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._done = _ignore
        if not self._is_warming:
            self._source.close()

    def _pump(self) -> None:
        outlet = self._outlet
        budget_bytes = TURN_BYTES
        while self.at < self._end and not outlet.is_paused and not self._is_closed:
            if budget_bytes <= 0:
                asyncio.get_running_loop().call_soon(self.resume)
                return
            size_bytes = min(self._end - self.at, outlet.room_bytes)
            sent_bytes = self._send_resident(size_bytes)
            if sent_bytes >= 0:
                self.at += sent_bytes
                budget_bytes -= sent_bytes
                continue
            window = self._source.read(self.at, size_bytes)
            if window is None:
                self._is_warming = True
                self._source.warm(self.at).add_done_callback(self._warmed)
                return
            if not window:
                raise ShortSourceError(f"ends at {self.at}, {self._end} expected")
            taken = outlet.write_some(window)
            self.at += taken
            budget_bytes -= taken

    def _send_resident(self, size_bytes: int) -> int:
        """Have the kernel send the next window; how much it did, -1: it has to be read."""
        outlet, source = self._outlet, self._source
        if not isinstance(outlet, SocketOutlet) or not isinstance(source, FileSource):
            return -1
        if self._is_cold or not outlet.takes_files:
            return -1
        window_bytes = min(size_bytes, SENDING_BYTES)
        if not source.is_resident(self.at, window_bytes):
            self._is_cold = True
            return -1
        try:
            sent_bytes = outlet.send_file(source.fd, self.at, window_bytes)
        except OSError as exc:
            if exc.errno not in UNSENDABLE:
                raise
            source.stop_sending()  # its file system knows no `sendfile`: it is read from here on
            return -1
        if not sent_bytes and not outlet.is_paused:
            raise ShortSourceError(f"ends at {self.at}, {self._end} expected")
        return sent_bytes

    def _warmed(self, _: asyncio.Future[None]) -> None:
        self._is_warming = False
        if self._is_closed:
            self._source.close()
            return
        self.resume()


def _ignore(_: OSError | None) -> None:
    """Nobody waits."""
