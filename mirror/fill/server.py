"""The unix socket where workers ask: bound with its permissions, replaced whole, then removed.

Rules:
1. The socket appears under its name only when it is 0600 and listening: it is bound beside it and
   renamed. A socket that a killed keeper left is replaced by the same step.
2. Closing ends every connection and waits for their tasks; flights belong to the filler.

Does not: authenticate; whoever may open the socket runs as this user.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from mirror.accounting.uses import UseObserver
from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.fill.connection import Answers, WorkerConnection

_BACKLOG = 128
_PATH_MAX_BYTES = 107  # sockaddr_un.sun_path, with its final zero


class KeeperServer:
    """`start` in the running loop; `aclose` when done."""

    def __init__(
        self,
        answers: Answers,
        socket_path: str,
        *,
        log: EventLog,
        observer: UseObserver | None = None,
    ) -> None:
        """`observer` hears what workers serve; it runs in the loop and must not block."""
        self._answers = answers
        self._observer = observer
        self._path = socket_path
        self._log = log
        self._server: asyncio.AbstractServer | None = None
        self._connections: set[WorkerConnection] = set()
        self._inode = 0

    def __repr__(self) -> str:
        return f"<KeeperServer {self._path} {len(self._connections)} connections>"

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def start(self) -> None:
        """Listen. Raises StoreError when the socket cannot be made there."""
        listener = _listen(self._path)
        self._inode = os.stat(self._path).st_ino
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._connect, sock=listener)

    async def aclose(self) -> None:
        """Stop listening, cut every worker off. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        with contextlib.suppress(OSError):
            if os.stat(self._path).st_ino == self._inode:  # not a successor's
                os.unlink(self._path)
        connections = tuple(self._connections)
        for connection in connections:
            connection.cut()
        for connection in connections:
            await connection.finished()

    def _connect(self) -> WorkerConnection:
        connection = WorkerConnection(
            self._answers, self._log, self._connections.discard, self._observer
        )
        self._connections.add(connection)
        return connection


def _listen(path: str) -> socket.socket:
    if len(os.fsencode(path)) > _PATH_MAX_BYTES - len(".binding"):
        raise StoreError(
            path, "the path is too long for a socket", hint="choose a shorter [state] path"
        )
    binding = path + ".binding"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(binding)
        listener.bind(binding)
        os.chmod(binding, 0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        os.rename(binding, path)
    except OSError as exc:
        listener.close()
        raise StoreError(path, exc.strerror or str(exc)) from exc
    return listener
