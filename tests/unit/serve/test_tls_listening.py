"""Handshakes under way: how many there may be, and what becomes of one too many."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from mirror.accounting.counters import Counters
from mirror.accounting.layout import layout_of
from mirror.cli.dev_certificates import Made
from mirror.config import Config
from mirror.serve.connection import HotPath
from mirror.serve.shared import Shared
from mirror.serve.tls_listening import TlsAcceptor, TlsListening
from mirror.serve.wheel import Wheel
from mirror.store.page import SharedPage
from tests.tls_files import make_server
from tests.unit.serve.fakes import FakeClock, FakeKeeper, FakeReader, RecordingLog, config_with

DEADLINE_S = 10.0
NO_PATH = cast("HotPath", object())  # no request comes this far


class Door(socket.socket):
    """A listening socket that says who came; `failures` is what accepting meets first."""

    peer = "192.0.2.1"

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.bind(("127.0.0.1", 0))
        self.failures: list[int] = []

    def _accept(self) -> tuple[int, Any]:
        if self.failures:
            raise OSError(self.failures.pop(), "no")
        fd, address = super()._accept()  # type: ignore[misc]  # not public; see `acceptor`
        return fd, (self.peer, address[1])


class Hall:
    """An acceptor behind a door, and the stalled clients in front of it."""

    def __init__(self, door: Door, acceptor: TlsAcceptor, shared: Shared) -> None:
        self.door, self.acceptor, self.shared = door, acceptor, shared
        self._stack = contextlib.ExitStack()

    def knock(self) -> socket.socket:
        """Connect, and never send a byte."""
        client = self._stack.enter_context(socket.create_connection(self.door.getsockname()))
        client.setblocking(False)
        return client

    async def knock_in_vain(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(self.knock(), 1) == b""

    def leave(self) -> None:
        self._stack.close()


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not claim():
            await asyncio.sleep(0.002)


Opened = Callable[[Config], contextlib.AbstractAsyncContextManager[Hall]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_server(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def opened(tmp_path: Path, made: Made) -> Opened:
    @contextlib.asynccontextmanager
    async def open_hall(config: Config) -> AsyncIterator[Hall]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.private_key)
        page = SharedPage.create(str(tmp_path / "shared.page"), 2)
        counters = Counters.open(str(tmp_path), 1, layout_of())
        shared = Shared(
            config,
            reader=FakeReader(tmp_path),
            keeper=FakeKeeper(),
            counters=counters,
            page=page,
            wheel=Wheel(FakeClock(), config.serve),
            log=RecordingLog(),
            loop_token="rust-mirror",
        )
        door = Door()
        hall = Hall(
            door,
            TlsAcceptor(TlsListening(context=context, sockets=(door,)), shared, NO_PATH),
            shared,
        )
        hall.acceptor.open(16)
        try:
            yield hall
        finally:
            hall.acceptor.close()
            hall.acceptor.abort()
            hall.leave()
            await until(lambda: not hall.acceptor)
            shared.pages.close()
            shared.sequences.close()
            page.close()
            counters.close()

    return open_hall


async def test_handshake_counts_as_a_connection_of_the_worker(opened: Opened) -> None:
    async with opened(config_with(max_connections=2, max_connections_per_client=0)) as hall:
        hall.knock()
        hall.knock()
        await until(lambda: len(hall.acceptor) == 2)
        await hall.knock_in_vain()
        hall.leave()
        await until(lambda: not hall.acceptor)
        hall.knock()
        await until(lambda: len(hall.acceptor) == 1)


async def test_handshake_counts_as_a_connection_of_its_client(opened: Opened) -> None:
    async with opened(config_with(max_connections_per_client=1)) as hall:
        hall.knock()
        await until(lambda: len(hall.acceptor) == 1)
        await hall.knock_in_vain()
        hall.door.peer = "192.0.2.2"
        hall.knock()
        await until(lambda: len(hall.acceptor) == 2)
        hall.leave()
        await until(lambda: not hall.acceptor)
        assert len(hall.shared.clients) == 0


async def test_accepting_goes_on_after_descriptors_ran_out(opened: Opened) -> None:
    async with opened(config_with()) as hall:
        hall.door.failures += [errno.EMFILE, errno.ECONNABORTED]
        hall.knock()
        await until(lambda: len(hall.acceptor) == 1)
        assert hall.door.failures == []
