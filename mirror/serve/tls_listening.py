"""TLS as a worker has it: accepting where TLS is spoken, and the handshakes under way.

Rules:
1. The context was built before the fork and is every worker's: a session that began at one resumes
   at any other.
2. A handshake under way costs a descriptor and about 45 KB, so it counts as a connection of the
   worker and of its client from the moment it is accepted. One too many is closed unanswered: to
   say 503 takes the handshake, which is what a flood of them would have. That is why this accepts
   by itself: `create_server(ssl=…)` shows a connection when its handshake is done, not before.
3. A handshake has `[serve.tls] handshake_timeout`. A worker that ends waits for those under way: a
   client in the middle of one did nothing wrong.
4. Closing waits as long for the rest to be taken, and for the client's close_notify, as a client
   may take no byte. `connection.Connection` ends it earlier once everything was acknowledged.

Runs in: worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from dataclasses import dataclass

from mirror.serve.acceptor import Acceptor
from mirror.serve.connection import Connection, HotPath
from mirror.serve.shared import Shared


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsListening:
    """Listening sockets and their context."""

    context: ssl.SSLContext
    sockets: tuple[socket.socket, ...]

    @property
    def port(self) -> int:
        """The port that clients are sent to; 0 where no socket has one."""
        families = (socket.AF_INET, socket.AF_INET6)
        ports = [sock.getsockname()[1] for sock in self.sockets if sock.family in families]
        return int(ports[0]) if ports else 0


class TlsConnection(Connection):
    """A connection that is made when its handshake is done; until then it is `acceptor`'s."""

    __slots__ = ("_acceptor",)

    def __init__(self, shared: Shared, path: HotPath, acceptor: TlsAcceptor) -> None:
        super().__init__(shared, path)
        self._acceptor = acceptor

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._acceptor.forget(self)  # from here on it is counted like every other
        super().connection_made(transport)


class TlsAcceptor(Acceptor):
    """Accepts where TLS is spoken; `len` is how many handshakes are under way."""

    def __init__(self, listening: TlsListening, shared: Shared, path: HotPath) -> None:
        super().__init__(listening.sockets)
        self._context = listening.context
        self._shared = shared
        self._path = path
        self._underway: dict[TlsConnection, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._underway)

    def abort(self) -> None:
        """Cut the handshakes under way."""
        for task in list(self._underway.values()):
            task.cancel()

    def forget(self, connection: TlsConnection) -> None:
        """The handshake of `connection` has ended, one way or the other."""
        if self._underway.pop(connection, None) is not None and connection.client:
            self._shared.clients.discard(connection.client)
            connection.client = ""

    def _begin(self, fd: int, peer: str) -> None:
        shared = self._shared
        shared.accounts.count("connections_accepted")
        client = shared.clients.client_of(peer)
        is_admitted = not client or shared.clients.add(client)
        is_full = len(shared.wheel) + len(self) >= shared.max_connections
        if not is_admitted or (is_full and not shared.finds_room(len(self))):
            shared.accounts.count("connections_turned_away")
            if client:
                shared.clients.discard(client)
            os.close(fd)
            return
        connection = TlsConnection(shared, self._path, self)
        connection.client = client
        shaking = self._shake(connection, socket.socket(fileno=fd))
        self._underway[connection] = asyncio.get_running_loop().create_task(shaking)

    async def _shake(self, connection: TlsConnection, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        serve = self._shared.config.serve
        try:
            # A handshake that fails is the client's affair: it is cut, and only counted.
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: connection,
                    accepted,
                    ssl=self._context,
                    ssl_handshake_timeout=serve.tls.handshake_timeout,
                    ssl_shutdown_timeout=serve.write_timeout,
                )
        finally:
            if connection in self._underway:
                self._shared.accounts.count("tls_handshakes_failed")
            self.forget(connection)
