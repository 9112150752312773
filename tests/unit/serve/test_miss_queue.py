"""Misses beyond `[limits] queued_misses` are answered at once, and hits do not notice."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
from pathlib import Path

import msgspec
import pytest

from mirror.config import Config, Freshness, Limits
from mirror.errors import ErrorType
from mirror.fill.bodies import Reply
from mirror.fill.messages import Ask, Failed
from mirror.serve.miss_queue import MissQueue
from tests.unit.serve.counted import total
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    WAITING,
    Bench,
    FakeClock,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.h2_client import until


def config_of(limit: int, freshness: Freshness = WAITING) -> Config:
    limits = msgspec.structs.replace(Limits(), queued_misses=limit)
    return Config(limits=limits, freshness=freshness)


def test_place_is_given_back_once() -> None:
    queue = MissQueue(2)
    first, second = queue.enter(), queue.enter()
    assert first is not None
    assert second is not None
    assert queue.enter() is None
    first.release()
    first.release()
    assert len(queue) == 1
    assert queue.enter() is not None
    assert queue.enter() is None


class Held:
    """A keeper that answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = 0

    def has_asked(self, times: int) -> bool:
        return self.waiting == times

    async def script(self, _: Ask) -> Reply:
        self.waiting += 1
        await self.go.wait()
        return Failed(status=404, reason="upstream says so")


class Waiter:
    """A client that has asked and waits."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def of(cls, bench: Bench, target: str) -> Waiter:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".encode())
        return cls(reader, writer)

    async def status(self) -> int:
        answer = parse_answer(await read_all(self._reader))
        self._writer.close()
        return answer.status

    def reset(self) -> None:
        reset(self._writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave as a client that crashes does; one that only says that it sends no more is served."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_miss_too_many_is_503_at_once_and_a_hit_is_a_hit(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_of(2)) as bench:
        held = Held()
        bench.keeper.script = held.script
        bench.reader.keep(INDEX_KEY, b"stored")
        waiting = [await Waiter.of(bench, f"/index/co/ld/cold{number}") for number in range(2)]
        await until(lambda: held.waiting == 2)
        for _ in range(3):
            answer = await bench.get("/index/co/ld/cold9")
            assert (answer.status, answer.fields["retry-after"]) == (503, "5")
            assert 'details="queue-full"' in answer.fields["proxy-status"]
        assert (await bench.get(INDEX_TARGET)).content == b"stored"
        assert len(bench.keeper.asked) == 2
        assert total(bench, "misses_turned_away") == 3
        held.go.set()
        assert [await each.status() for each in waiting] == [404, 404]
        assert (await bench.get("/index/co/ld/cold9")).status == 404


async def test_miss_too_many_gets_the_stored_copy_if_there_is_one(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_of(1)) as bench:
        held = Held()
        bench.keeper.script = held.script
        now = FakeClock().now()
        bench.reader.keep(
            CRATE_KEY,
            b"stale",
            fresh_until=now - 60,
            confirmed_at=now - 3600,
            fetched_at=now - 3600,
        )
        waiting = await Waiter.of(bench, "/index/co/ld/cold")
        await until(lambda: held.waiting == 1)
        answer = await bench.get(CRATE_TARGET)
        assert (answer.status, answer.content) == (200, b"stale")
        assert 'detail="stale-if-error, queue-full"' in answer.fields["cache-status"]
        held.go.set()
        assert await waiting.status() == 404


async def test_clients_that_leave_give_their_places_back(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_of(3)) as bench:
        held = Held()
        bench.keeper.script = held.script
        for round_number in range(3):
            waiting = [await Waiter.of(bench, f"/index/co/ld/cold{each}") for each in range(3)]
            await until(functools.partial(held.has_asked, 3 * (round_number + 1)))
            for each in waiting:
                each.reset()
            await until(lambda: "0 connections" in repr(bench.worker))
        assert total(bench, "misses_turned_away") == 0
        held.go.set()
        assert (await bench.get("/index/co/ld/cold")).status == 404


async def test_place_is_free_again_after_the_answer(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_of(1)) as bench:
        bench.keeper.answer(Failed(status=503, reason="no", retry_after_s=9))
        for _ in range(5):
            assert (await bench.get("/index/co/ld/cold")).fields["retry-after"] == "9"
        assert len(bench.keeper.asked) == 5


@pytest.mark.parametrize(
    ("error_type", "detail"),
    [
        (ErrorType.CONNECTION_LIMIT_REACHED, "upstream-busy"),
        (ErrorType.CONNECTION_REFUSED, "unavailable"),
    ],
)
async def test_wait_for_upstream_that_was_too_long_is_told_from_other_trouble(
    tmp_path: Path, error_type: ErrorType, detail: str
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer(
            Failed(status=503, reason="queue", retry_after_s=7, error_type=error_type)
        )
        answer = await bench.get(CRATE_TARGET)
        assert (answer.status, answer.fields["retry-after"]) == (503, "7")
        assert f'details="{detail}"' in answer.fields["proxy-status"]
