"""A worker whose loop never runs, and connections that are fed by hand: bytes in, bytes out.

What needs no task or file is answered inside `data_received`; these tests ask for nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from mirror.accounting.counters import Counters
from mirror.accounting.layout import layout_of
from mirror.config import Config
from mirror.serve.connection import Connection
from mirror.serve.ports import RequestLog
from mirror.serve.worker import Worker
from mirror.store.page import SharedPage
from tests.unit.serve.fakes import FakeClock, FakeKeeper, FakeReader, RecordingLog


class IdleWorker:
    """Everything that a connection needs but time."""

    def __init__(
        self,
        path: Path,
        config: Config | None = None,
        *,
        request_log: RequestLog | None = None,
        is_learning: bool = True,
    ) -> None:
        """`is_learning` False: every head is parsed, however often it has come."""
        self.clock = FakeClock()
        self.reader = FakeReader(path)
        self.keeper = FakeKeeper()
        self.log = RecordingLog()
        self.page = SharedPage.create(str(path / "shared.page"), 4)
        self.counters = Counters.open(str(path), 1, layout_of())
        self.worker = Worker(
            config or Config(),
            1,
            [],
            self.reader,
            self.keeper,
            self.counters,
            self.page,
            self.log,
            loop_token="rust-mirror",
            clock=self.clock,
            request_log=request_log,
        )
        if not is_learning:
            self.worker._shared.memo.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run(self._end())
        self.page.close()
        self.counters.close()

    async def _end(self) -> None:
        stop = asyncio.Event()
        stop.set()
        await self.worker.run(stop)

    def tick_after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.worker.tick()


class FedConnection(asyncio.Transport):
    """The transport of one connection; `sent` is all that it has sent."""

    def __init__(self, worker: IdleWorker, peer: str = "192.0.2.1") -> None:
        super().__init__()
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._peer = peer
        self._sent = bytearray()
        self.has_sent_eof = False
        self.is_closed = False
        self.is_aborted = False
        self.connection: Connection = worker.worker.connect()
        self.connection.connection_made(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    @property
    def sent(self) -> bytes:
        self._drain()
        return bytes(self._sent)

    def feed(self, data: bytes) -> None:
        """The client has sent `data`."""
        if data and not self.is_aborted:
            self.connection.data_received(data)
            self._drain()

    def leave(self) -> None:
        """The client is gone; harmless when it was."""
        if self._near.fileno() < 0:
            return
        self.connection.connection_lost(None)
        self._near.close()
        self._far.close()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while piece := self._far.recv(1 << 20):
                self._sent += piece

    # asyncio.Transport

    def get_extra_info(self, name: str, default: object = None) -> object:
        known = {"socket": self._near, "peername": (self._peer, 1), "sockname": ("192.0.2.9", 80)}
        return known.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (0, None)

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError("the socket takes all of these answers")

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_sent_eof = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True
