"""Accepting connections on listening sockets, in the loop's turns.

Rules:
1. Others have their turn after `ACCEPTS_PER_TURN`.
2. Without a free descriptor or memory nothing is accepted for `RETRY_S`.
3. What waits in the queues when accepting ends stays there: others hold these sockets too.

Does not: know what is done with what was accepted.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from mirror.serve.socket_names import host_of

ACCEPTS_PER_TURN: Final = 16
RETRY_S: Final = 0.1


class Acceptor:
    """Accepts between `open` and `close`; `len` is how many are on the way to their protocol."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = tuple(sockets)
        self._is_open = False

    def __len__(self) -> int:
        raise NotImplementedError

    def open(self, backlog: int) -> None:
        """Accept in the running loop from here on."""
        self._is_open = True
        for listening in self._sockets:
            listening.setblocking(False)
            listening.listen(backlog)
            self._watch(listening)

    def close(self) -> None:
        """Accept no more (rule 3)."""
        if not self._is_open:
            return
        self._is_open = False
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()

    def abort(self) -> None:
        """Cut what is on the way."""
        raise NotImplementedError

    def _begin(self, fd: int, peer: str) -> None:
        """Take over the descriptor of a socket that was accepted from `peer`; it is blocking."""
        raise NotImplementedError

    def _watch(self, listening: socket.socket) -> None:
        if self._is_open:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                # `accept` and `detach` without the socket object in between (measured: 5 us instead
                # of 10).
                fd, address = listening._accept()  # type: ignore[attr-defined]  # not public
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(RETRY_S, self._watch, listening)
                return
            self._begin(fd, host_of(address))
