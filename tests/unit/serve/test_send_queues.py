"""Few connections have large queues in the kernel; nobody loses one that he uses."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from mirror.serve.send_queues import LARGE_BYTES, LITTLE_BYTES, MOST, SendQueues

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """TCP connections, more than may have a large queue."""
    made: list[Pair] = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(MOST + 2)
        for _ in range(MOST + 2):
            near = socket.create_connection(listening.getsockname())
            near.setblocking(False)
            made.append((near, listening.accept()[0]))
    yield made
    for near, far in made:
        near.close()
        far.close()


def limit_of(sending: socket.socket) -> int:
    return sending.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)


def test_as_many_as_there_are_places_get_one(pairs: list[Pair]) -> None:
    queues = SendQueues()
    for near, _ in pairs[:MOST]:
        queues.enlarge(near, 100.0)
    assert [limit_of(near) == LARGE_BYTES for near, _ in pairs] == [True] * MOST + [False] * 2
    assert repr(queues) == f"<SendQueues {MOST} large>"


def test_place_of_a_client_that_stopped_reading_is_not_taken(pairs: list[Pair]) -> None:
    queues = SendQueues()
    for near, _ in pairs[:MOST]:
        queues.enlarge(near, 100.0)
        with contextlib.suppress(BlockingIOError):
            while True:
                near.send(bytes(1 << 20))
    for now_s in (101.0, 200.0):
        queues.enlarge(pairs[MOST][0], now_s)
    assert pairs[MOST][0] not in queues


def test_place_of_one_that_has_everything_goes_to_the_next(pairs: list[Pair]) -> None:
    queues = SendQueues()
    for near, _ in pairs[:MOST]:
        queues.enlarge(near, 100.0)
    queues.enlarge(pairs[MOST][0], 101.0)
    assert pairs[MOST][0] in queues
    assert limit_of(pairs[0][0]) == LITTLE_BYTES


def test_places_are_looked_for_now_and_then_only(pairs: list[Pair]) -> None:
    queues = SendQueues()
    for near, _ in pairs[:MOST]:
        queues.enlarge(near, 100.0)
    queues.enlarge(pairs[MOST][0], 101.0)
    for near, _ in pairs[1:MOST]:
        queues.enlarge(near, 101.1)
    queues.forget(pairs[MOST][0])
    queues.enlarge(pairs[MOST + 1][0], 101.1)
    assert pairs[MOST + 1][0] in queues


def test_ended_connection_leaves_its_place(pairs: list[Pair]) -> None:
    queues = SendQueues()
    near = pairs[0][0]
    queues.enlarge(near, 1.0)
    assert near in queues
    queues.forget(near)
    queues.forget(near)
    assert near not in queues


def test_socket_without_such_a_limit_has_no_place() -> None:
    queues = SendQueues()
    near, far = socket.socketpair()
    queues.enlarge(near, 1.0)
    assert near not in queues
    near.close()
    far.close()


def test_place_of_one_that_is_closed_already_goes_to_the_next(pairs: list[Pair]) -> None:
    class Closed:
        """As uvloop shows the socket of a TLS connection that was reset a moment ago."""

        is_closed = False

        def fileno(self) -> int:
            return -1 if self.is_closed else pairs[0][0].fileno()

        def setsockopt(self, level: int, option: int, value: int, /) -> None:
            if self.is_closed:
                raise ValueError("negative file descriptor")

    queues, closed = SendQueues(), Closed()
    queues.enlarge(closed, 100.0)
    for near, _ in pairs[1:MOST]:
        queues.enlarge(near, 100.0)
        with contextlib.suppress(BlockingIOError):
            while True:
                near.send(bytes(1 << 20))
    closed.is_closed = True
    queues.enlarge(pairs[MOST][0], 101.0)
    assert pairs[MOST][0] in queues
    assert closed not in queues
