"""Who waits for a socket goes on when it takes more, once, and never after it was forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from mirror.serve.writability import Writability


class Calls:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1

    async def come_to(self, wanted: int) -> None:
        async with asyncio.timeout(10):
            while self.count < wanted:
                await asyncio.sleep(0)


def fill(near: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            near.send(bytes(65_536))


def drain(far: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            far.recv(1 << 20)


def close(near: socket.socket, far: socket.socket) -> None:
    near.close()
    far.close()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


@pytest.fixture
async def writability() -> AsyncIterator[Writability]:
    made = Writability()
    yield made
    made.close()
    made.close()


async def test_full_socket_reports_once_when_it_takes_more(
    pair: tuple[socket.socket, socket.socket], writability: Writability
) -> None:
    near, far = pair
    calls = Calls()
    fill(near)
    writability.wait(near.fileno(), calls)
    await turns()
    assert calls.count == 0
    drain(far)
    await calls.come_to(1)
    await turns()
    assert calls.count == 1
    close(near, far)


async def test_socket_that_takes_bytes_already_reports_each_wait(
    pair: tuple[socket.socket, socket.socket], writability: Writability
) -> None:
    near, far = pair
    calls = Calls()
    for wanted in (1, 2, 3):
        writability.wait(near.fileno(), calls)
        await calls.come_to(wanted)
    close(near, far)


async def test_socket_whose_other_end_is_gone_reports(
    pair: tuple[socket.socket, socket.socket], writability: Writability
) -> None:
    near, far = pair
    calls = Calls()
    fill(near)
    writability.wait(near.fileno(), calls)
    far.close()
    await calls.come_to(1)
    near.close()


async def test_forgotten_socket_never_reports(
    pair: tuple[socket.socket, socket.socket], writability: Writability
) -> None:
    near, far = pair
    calls = Calls()
    writability.forget(near.fileno())
    writability.wait(near.fileno(), calls)
    writability.forget(near.fileno())
    writability.forget(near.fileno())
    await turns()
    assert calls.count == 0
    assert repr(writability) == "<Writability 0 known>"
    close(near, far)


async def test_number_that_is_used_again_is_registered_anew(
    pair: tuple[socket.socket, socket.socket], writability: Writability
) -> None:
    near, far = pair
    first, second = Calls(), Calls()
    fill(near)
    number = near.fileno()
    writability.wait(number, first)
    close(near, far)
    near, far = socket.socketpair()
    while near.fileno() != number:
        near = near.dup()  # the lowest free number is the one that was closed
    writability.wait(number, second)
    await second.come_to(1)
    assert first.count == 0
    close(near, far)


async def test_fault_of_one_who_waits_is_told_and_others_go_on(writability: Writability) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    told: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    calls = Calls()

    def fail() -> None:
        raise ValueError("broken")

    actions: list[Callable[[], None]] = [calls, fail, calls]
    for (near, _), action in zip(pairs, actions, strict=True):
        writability.wait(near.fileno(), action)
    await calls.come_to(2)
    async with asyncio.timeout(10):
        while not told:
            await asyncio.sleep(0)
    assert isinstance(told[0]["exception"], ValueError)
    for near, far in pairs:
        close(near, far)


async def test_nothing_reports_after_close(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    writability, calls = Writability(), Calls()
    writability.wait(near.fileno(), calls)
    writability.close()
    await turns()
    assert calls.count == 0
    close(near, far)
