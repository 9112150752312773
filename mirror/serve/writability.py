"""Sockets that take no more at the moment, and who goes on when they do.

Rules:
1. What a body leaves over in a full socket is not handed to the transport: its rest stays where it
   is, in a file or in memory, and the socket itself says when it takes more. So a slow reader holds
   nothing of ours, content can leave by `sendfile`, and what was taken is what the kernel took
   (`docs/adr/0018-*` says what it would cost to hand it over).
2. All sockets are waited for by one `epoll` that the loop watches like a descriptor: the loop does
   not let anybody else watch the socket of a transport, and a second descriptor for each would
   count against the limit of open files.
3. One event per `wait` (EPOLLONESHOT): a socket that turned writable between a short write and the
   `wait` reports at once, so no wake-up is lost. Who is called looks itself at whether he still
   waits; a call too many is harmless.
4. `forget` before a descriptor is closed; its number, used again without that, is registered anew.

Runs in: worker.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Final

from mirror.serve.send_queues import SendQueues

_ONCE: Final = select.EPOLLOUT | select.EPOLLONESHOT
_BATCH: Final = 256  # of one turn; the rest reports in the next


class Writability:
    """The waiting sockets of one worker; opened when the first one waits."""

    __slots__ = ("_epoll", "_loop", "_ready", "queues")

    def __init__(self) -> None:
        self.queues = SendQueues()
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: dict[int, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<Writability {len(self._ready)} known>"

    def wait(self, fd: int, ready: Callable[[], None]) -> None:
        """Have `ready` called once, in a later turn of the loop, when `fd` takes bytes or fails.

        Raises: OSError when there are no more descriptors (the first time), or no memory.
        """
        epoll = self._epoll or self._open()
        try:
            if fd in self._ready:
                epoll.modify(fd, _ONCE)
            else:
                epoll.register(fd, _ONCE)
        except FileNotFoundError:
            epoll.register(fd, _ONCE)
        except FileExistsError:
            epoll.modify(fd, _ONCE)
        self._ready[fd] = ready

    def forget(self, fd: int) -> None:
        """Call nobody for `fd` any more; harmless when nobody waits."""
        if self._ready.pop(fd, None) is not None and self._epoll is not None:
            try:
                self._epoll.unregister(fd)
            except OSError:
                return  # closed already, and so forgotten by the kernel

    def close(self) -> None:
        """Call nobody any more; idempotent."""
        epoll, self._epoll = self._epoll, None
        self._ready.clear()
        self.queues.clear()
        if epoll is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(epoll.fileno())
            epoll.close()

    def _open(self) -> select.epoll:
        self._loop = asyncio.get_running_loop()
        epoll = self._epoll = select.epoll()
        self._loop.add_reader(epoll.fileno(), self._dispatch)
        return epoll

    def _dispatch(self) -> None:
        if self._epoll is None or self._loop is None:
            return
        for fd, _ in self._epoll.poll(0, _BATCH):
            ready = self._ready.get(fd)
            if ready is None:
                continue
            try:
                ready()
            except Exception as exc:  # noqa: BLE001 - the others' events are spent: they must be told
                self._loop.call_exception_handler({"message": "going on failed", "exception": exc})
