"""A response whose content is a whole stored file: no task, driven by the socket.

Runs in: worker.
"""

from __future__ import annotations

from mirror.serve.connection import Connection
from mirror.serve.sender import FileSender


class FileExchange:
    """Sends one segment, then gives the connection back; a fault cuts the connection."""

    __slots__ = ("_connection", "_keep_alive", "_sender")

    def __init__(self, connection: Connection, sender: FileSender, *, keep_alive: bool) -> None:
        """Takes the sender over."""
        self._connection = connection
        self._sender = sender
        self._keep_alive = keep_alive

    def start(self, end: int) -> None:
        self._connection.occupy(self)
        self._sender.send_until(end, self._done)

    def resume(self) -> None:
        self._sender.resume()

    def cancel(self) -> None:
        self._sender.close()

    def _done(self, failure: OSError | None) -> None:
        self._sender.close()
        if failure is None:
            self._connection.finish(keep_alive=self._keep_alive)
        else:
            self._connection.abort()
