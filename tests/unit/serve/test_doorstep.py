"""A last request is answered at the door; everything else becomes a connection, byte for byte."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from mirror.serve.client_address import TrustedProxies
from mirror.serve.client_counts import ClientCounts
from mirror.serve.client_networks import ClientNetworks
from mirror.serve.doorstep import Doorstep
from tests.unit.serve.counted import served, total
from tests.unit.serve.fakes import (
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    config_with,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.flights import until

CONTENT = bytes(range(256)) * 240  # 61,440 bytes: one write, and more than a small buffer takes
LAST = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".encode()
NEXT = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode()


class Counted(ClientNetworks):
    """Loopback, from where all tests come, is a client like others."""

    def client_of(self, address: str) -> str:
        return address


def door_of(bench: Bench) -> Doorstep:
    door = bench.worker._acceptors[0]
    assert isinstance(door, Doorstep)
    return door


async def call(bench: Bench, *pieces: bytes) -> bytes:
    """Send the first piece before the connection is accepted; what comes until the end."""
    with socket.create_connection(("127.0.0.1", bench.port)) as client:
        client.sendall(pieces[0])
        client.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=client)
        for piece in pieces[1:]:
            writer.write(piece)
            await writer.drain()
        received = await read_all(reader)
        writer.close()
        return received


async def learned(bench: Bench) -> bytes:
    """Have a last request answered by the parser."""
    bench.reader.keep(INDEX_KEY, CONTENT)
    return await call(bench, LAST)


async def test_last_request_is_answered_at_the_door_like_anywhere(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        parsed = await learned(bench)
        bench.worker._shared.max_target_bytes = 1  # whatever is parsed now is refused
        for _ in range(3):
            assert await call(bench, LAST) == parsed
        answer = parse_answer(parsed)
        assert (answer.status, answer.fields["connection"], answer.content) == (
            200,
            "close",
            CONTENT,
        )
        counted = served(bench)
        assert counted["index", "hit", "requests"] == 4
        assert counted["index", "hit", "content_bytes"] == 4 * len(CONTENT)
        assert counted["index", "hit", "head_bytes"] == 4 * (len(parsed) - len(CONTENT))
        assert total(bench, "connections_accepted") == 4
        assert "0 connections" in repr(bench.worker)


async def test_what_the_socket_does_not_take_at_once_follows(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        parsed = await learned(bench)
        for listening in door_of(bench)._sockets:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # accepted ones too
        assert await call(bench, LAST) == parsed
        assert served(bench)["index", "hit", "requests"] == 2
        assert total(bench, "connections_accepted") == 2


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((NEXT + NEXT + LAST,), id="several-at-once"),
        pytest.param((LAST[:20], LAST[20:]), id="half-a-head"),
        pytest.param((NEXT[:-1], NEXT[-1:] + LAST), id="cut-in-the-empty-line"),
        pytest.param((NEXT * 40 + LAST,), id="more-than-is-read-at-first"),
    ],
)
async def test_bytes_keep_their_order_on_the_way_in(
    tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    async with running_worker(tmp_path) as bench:
        await learned(bench)
        rest, answers = await call(bench, *pieces), 0
        while rest:
            answer = parse_answer(rest)
            assert (answer.status, answer.content) == (200, CONTENT)
            rest, answers = answer.rest, answers + 1
        assert answers == b"".join(pieces).count(b"GET ")


async def test_silent_client_becomes_a_connection(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        with socket.create_connection(("127.0.0.1", bench.port)):
            await until(lambda: "1 connections" in repr(bench.worker))
            assert len(door_of(bench)) == 0
        await until(lambda: "0 connections" in repr(bench.worker))


async def test_full_worker_answers_nobody_at_the_door(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(max_connections=1)) as bench:
        await learned(bench)
        with socket.create_connection(("127.0.0.1", bench.port)):
            await until(lambda: "1 connections" in repr(bench.worker))
            assert parse_answer(await call(bench, LAST)).status == 503


async def test_client_with_too_many_connections_is_not_answered_at_the_door(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(max_connections_per_client=1)) as bench:
        parsed = await learned(bench)
        networks = Counted(TrustedProxies(()), ipv6_prefix=64, exempt=())
        bench.worker._shared.clients = ClientCounts(1, networks)
        assert await call(bench, LAST) == parsed
        with socket.create_connection(("127.0.0.1", bench.port)):
            await until(lambda: len(bench.worker._shared.clients) == 1)
            assert parse_answer(await call(bench, LAST)).status == 503
        assert served(bench)["index", "hit", "requests"] == 2


async def test_request_that_comes_right_behind_its_connection_is_answered_at_the_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_worker(tmp_path) as bench:
        parsed = await learned(bench)
        bench.worker._shared.max_target_bytes = 1  # whatever is parsed now is refused
        met: list[bytes] = []
        read, meet = os.read, door_of(bench)._meet
        early = iter([True])

        def read_late(fd: int, size_bytes: int) -> bytes:
            if next(early, False):
                raise BlockingIOError
            return read(fd, size_bytes)

        def meet_noted(fd: int, peer: str, received: bytes) -> None:
            met.append(received)
            meet(fd, peer, received)

        monkeypatch.setattr("mirror.serve.doorstep.os.read", read_late)
        monkeypatch.setattr(door_of(bench), "_meet", meet_noted)
        assert await call(bench, LAST) == parsed
        assert met == [LAST]


async def test_client_that_left_is_not_counted_as_answered(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        await learned(bench)
        with socket.create_connection(("127.0.0.1", bench.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await until(lambda: total(bench, "connections_accepted") == 2)
        assert served(bench)["index", "hit", "requests"] == 1


async def test_fault_at_the_door_ends_its_connection_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_worker(tmp_path) as bench:
        parsed = await learned(bench)
        told: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        def fail(*_: object) -> bool:
            raise ValueError("broken")

        with monkeypatch.context() as broken:
            broken.setattr(bench.worker._path, "serve_last", fail)
            assert await asyncio.gather(*(call(bench, LAST) for _ in range(5))) == [b""] * 5
        assert [type(each["exception"]) for each in told] == [ValueError] * 5
        assert await call(bench, LAST) == parsed
        assert len(door_of(bench)) == 0


@pytest.mark.parametrize(
    "changes", [{"proxy_protocol": True}, {"plaintext": "refuse"}], ids=["proxy", "refuse"]
)
async def test_there_is_no_door_where_connections_begin_otherwise(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    async with running_worker(tmp_path, config_with(**changes)) as bench:
        assert door_of(bench)._sockets == ()
