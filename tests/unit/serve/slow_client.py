"""A client that reads only when the test says so, and shows what the transport was handed."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from mirror.serve.connection import Connection
from tests.unit.serve.fakes import Answer, Bench, parse_answer

_BUFFER_BYTES = 8_192


class SlowClient(asyncio.Transport):
    """The transport of one connection; `held_bytes` is what it keeps unsent."""

    def __init__(self, bench: Bench, *, local: object = None) -> None:
        """`local`: the address that the client connected to, as a socket tells it."""
        super().__init__()
        self._near, self._far = socket.socketpair()
        for end in (self._near, self._far):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self._local = local
        self._unsent = bytearray()
        self.most_held_bytes = 0
        self.is_aborted = False
        self.connection: Connection = bench.worker.connect()
        self.connection.connection_made(self)

    @property
    def held_bytes(self) -> int:
        return len(self._unsent)

    @property
    def is_waited_for(self) -> bool:
        """Whether the connection has more for it than its socket takes."""
        return self.connection.is_paused

    def ask(self, line: str, *lines: str) -> None:
        head = "\r\n".join([line, "Host: m", *lines]).encode() + b"\r\n\r\n"
        self.connection.data_received(head)

    def leave(self) -> None:
        """The client is gone."""
        self.connection.connection_lost(None)
        self.end()

    def end(self) -> None:
        self._near.close()
        self._far.close()

    async def answer(self, *, is_head: bool = False) -> Answer:
        """Read one response to its end; the loop turns in between."""
        received = b""
        async with asyncio.timeout(10):
            while True:
                received += self._read()
                if b"\r\n\r\n" in received:
                    answer = parse_answer(received, is_head=is_head)
                    if answer.is_complete:
                        return answer
                await asyncio.sleep(0)

    def take(self) -> bytes:
        """Read what the kernel has; the transport keeps what it holds."""
        received = b""
        with contextlib.suppress(BlockingIOError):
            while piece := self._far.recv(1 << 20):
                received += piece
        return received

    def _read(self) -> bytes:
        received = self.take()
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                del self._unsent[: self._near.send(self._unsent)]
            if not self._unsent:
                self.connection.resume_writing()
        return received

    # asyncio.Transport

    def get_extra_info(self, name: str, default: object = None) -> object:
        known = {"socket": self._near, "sockname": self._local}
        return known.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (0, None)

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        was_empty = not self._unsent
        self._unsent += data
        self.most_held_bytes = max(self.most_held_bytes, len(self._unsent))
        if was_empty:
            self.connection.pause_writing()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self.is_aborted = True
