"""Plaintext connections as they are accepted: a learned head that ends one is answered at the door.

Rules:
1. Whoever connects for one request has often sent it before the connection is accepted. When what
   has come is a learned head with `Connection: close`, it is answered by one write and one close:
   no transport, no socket object, nothing registered with the loop (measured, idle machine: 21 us
   of the worker's CPU for a connection instead of 53).
   Where nothing has come yet it is looked at once more in the loop's next turn: the segment with
   the request follows the one that completes the connection (measured: 63 of 100 at the first
   look when busy, nearly all at the second).
2. All others become a `connection.Connection`, which is given what was read, in the turn in which
   it is made and before the loop reads from it: bytes keep their order.
3. The same limits hold as in `admission`; where one is reached the other path says so.
4. Of what the socket does not take at once the rest goes through a `Connection`, which then closes.

Does not: speak TLS or the PROXY protocol, or know restricted connections; `worker` sees to that.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Final

from mirror.serve.acceptor import Acceptor
from mirror.serve.connection import Connection, HotPath
from mirror.serve.shared import Shared
from mirror.serve.tally import Tally

# Never more than `[serve] max_head`, which is 1 KiB at least: what is read fits one inbox. Longer
# heads are learned by nobody (`memo.MAX_TAIL_BYTES`).
_FIRST_READ_BYTES: Final = 1024


class EarlyConnection(Connection):
    """A connection of which something was read, or answered, before it was made."""

    __slots__ = ("_acceptor", "_received", "_rest")

    def __init__(
        self, shared: Shared, path: HotPath, acceptor: Doorstep, received: bytes, rest: bytes
    ) -> None:
        """`rest`: of an answer after which it closes."""
        super().__init__(shared, path)
        self._acceptor = acceptor
        self._received = received
        self._rest = rest

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._acceptor.forget(self)
        super().connection_made(transport)
        received, self._received = self._received, b""
        rest, self._rest = self._rest, b""
        if rest:
            self.send(rest)
            self.close()
        elif received and not self._is_closing:
            self.data_received(received)

    def _may_enter(self) -> bool:
        """Whose answer has begun is in: nothing else may be said to it."""
        if not self._rest:
            return super()._may_enter()
        self._shared.wheel.add(self)
        return True


class Visitor:
    """A client whose only answer is given at the door; `learned_path` answers it as a connection.

    `rest` is what the socket did not take.
    """

    __slots__ = ("_fd", "group", "peer", "rest", "tallies")

    is_http2 = False
    scheme = "http"
    unsent_bytes = 0

    def __init__(self, fd: int, peer: str, group: int, tallies: tuple[Tally, ...]) -> None:
        self._fd = fd
        self.group = group
        self.peer = peer
        self.rest = b""
        self.tallies = tallies

    @property
    def socket_peer(self) -> str:
        return self.peer

    def send(self, data: bytes) -> bool:
        """See `outlet.Outlet`."""
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return False
        if sent != len(data):
            self.rest = data[sent:]
        return True


class Doorstep(Acceptor):
    """Accepts plaintext connections."""

    def __init__(self, sockets: Sequence[socket.socket], shared: Shared, path: HotPath) -> None:
        super().__init__(sockets)
        self._shared = shared
        self._path = path
        self._silent: dict[int, str] = {}
        self._underway: dict[EarlyConnection, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._silent) + len(self._underway)

    def abort(self) -> None:
        """See `Acceptor`."""
        silent, self._silent = self._silent, {}
        for fd in silent:
            os.close(fd)
        underway, self._underway = self._underway, {}
        for task in underway.values():
            task.cancel()

    def forget(self, connection: EarlyConnection) -> None:
        """`connection` is made, or never will be."""
        self._underway.pop(connection, None)

    def _begin(self, fd: int, peer: str) -> None:
        os.set_blocking(fd, False)
        try:
            received = os.read(fd, _FIRST_READ_BYTES)
        except OSError:  # nothing yet; what else is wrong shows again
            self._silent[fd] = peer
            asyncio.get_running_loop().call_soon(self._look_again, fd)
            return
        self._meet(fd, peer, received)

    def _look_again(self, fd: int) -> None:
        peer = self._silent.pop(fd, None)
        if peer is None:
            return  # cut meanwhile
        received = b""
        with contextlib.suppress(OSError):
            received = os.read(fd, _FIRST_READ_BYTES)
        self._meet(fd, peer, received)

    def _meet(self, fd: int, peer: str, received: bytes) -> None:
        try:
            rest = self._serve_last(fd, peer, received) if received else None
        except Exception:
            os.close(fd)  # as the loop closes a connection whose protocol fails
            raise
        if rest == b"":
            self._shared.accounts.count("connections_accepted")
            os.close(fd)
            return
        accepted = socket.socket(fileno=fd)
        connection = EarlyConnection(self._shared, self._path, self, received, rest or b"")
        connecting = self._connect(connection, accepted)
        self._underway[connection] = asyncio.get_running_loop().create_task(connecting)

    def _serve_last(self, fd: int, peer: str, head: bytes) -> bytes | None:
        """Answer a learned head that ends its connection; what is left to be sent of the answer.

        None: it takes more than that, and nothing was sent.
        """
        shared = self._shared
        cut = head.find(b"\r\n")
        lines = shared.memo.closing.get(head[cut:])
        key = None if lines is None else lines.get(head[:cut])
        hot = None if key is None else shared.hot.get(key)
        if hot is None or len(shared.wheel) + len(self) >= shared.max_connections:
            return None
        client = shared.clients.client_of(peer)
        if client and not shared.clients.has_room(client):
            return None
        group = shared.groups.of_connection(peer, None)
        visitor = Visitor(fd, peer, group, shared.accounts.tallies(group))
        return visitor.rest if self._path.serve_last(visitor, hot, head) else None

    async def _connect(self, connection: EarlyConnection, accepted: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):  # the client is gone
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: connection, accepted
                )
        finally:
            self.forget(connection)
