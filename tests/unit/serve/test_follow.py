"""Content that is still coming: followed as it grows, never made to look complete."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.fill.bodies import GrowingBody, InlineBody
from mirror.fill.messages import Ask, GrowingAnswer
from mirror.route.route import ContentClass
from tests.unit.serve.fakes import (
    CRATE_TARGET,
    Answer,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.flights import (
    CONTENT,
    HELD,
    LENGTHS,
    QUIET_S,
    Flight,
    begin,
    come,
    end,
    until,
)


@pytest.mark.parametrize("length", LENGTHS)
async def test_head_comes_at_once_and_content_as_it_may(tmp_path: Path, length: int) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=length)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        flight.land(100_000)
        received = await come(reader, 100_000, head)
        assert parse_answer(received).content == CONTENT[:100_000]
        flight.land(290_000)
        received = await come(reader, len(CONTENT) - HELD, received)
        assert parse_answer(received).content == CONTENT[: len(CONTENT) - HELD]
        flight.verify()
        answer = parse_answer(await end(reader, writer, received))
        assert answer.is_complete
        assert answer.content == CONTENT
        assert answer.fields["cache-status"] == "rust-mirror; fwd=uri-miss; stored"
        assert flight.released == 1
        assert bench.count(ContentClass.CRATE, Outcome.MISS) == (1, len(CONTENT))


@pytest.mark.parametrize("length", LENGTHS)
async def test_failure_after_the_head_is_an_incomplete_message(tmp_path: Path, length: int) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=length)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        await until(lambda: flight.bodies)
        flight.land(len(CONTENT))
        received = await come(reader, len(CONTENT) - HELD)
        flight.fail()
        answer = parse_answer(await end(reader, writer, received))
        assert reader.at_eof() or reader.exception() is not None
        assert not answer.is_complete
        assert len(answer.content) == len(CONTENT) - HELD
        assert flight.released == 1


async def test_failure_before_the_head_is_a_status(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        flight.fail()

        async def script(ask: Ask) -> GrowingBody:
            body = await flight.answer(ask)
            flight.fail()
            return body

        bench.keeper.script = script
        answer = await bench.get(CRATE_TARGET)
        assert answer.status == 502
        assert flight.released == 1


async def test_small_content_waits_so_that_its_failure_is_a_status(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=1000)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Connection: close")
        await until(lambda: flight.bodies)
        flight.fail()
        assert parse_answer(await end(reader, writer)).status == 502


@pytest.mark.parametrize("length", LENGTHS)
async def test_http10_gets_nothing_before_all_is_verified(tmp_path: Path, length: int) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=length)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, line=f"GET {CRATE_TARGET} HTTP/1.0")
        await until(lambda: flight.bodies)
        flight.land(len(CONTENT))
        assert await read_all(reader, QUIET_S) == b""
        flight.verify()
        answer = parse_answer(await end(reader, writer))
        assert (answer.content, answer.fields["content-length"]) == (CONTENT, str(len(CONTENT)))


async def test_http10_gets_a_status_when_the_fill_fails(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, line=f"GET {CRATE_TARGET} HTTP/1.0")
        await until(lambda: flight.bodies)
        flight.fail()
        assert parse_answer(await end(reader, writer)).status == 502


async def test_head_and_conditional_need_no_content(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        head = await bench.get(CRATE_TARGET, method="HEAD")
        same = await bench.get(CRATE_TARGET, f"If-None-Match: {head.fields['etag']}")
        assert (head.status, same.status) == (200, 304)
        assert head.fields["content-length"] == str(len(CONTENT))
        assert flight.released == 2


async def test_many_followers_share_a_flight(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        clients = [asyncio.create_task(bench.get(CRATE_TARGET)) for _ in range(20)]
        await until(lambda: len(flight.bodies) == 20)
        for upto in range(50_000, len(CONTENT), 50_000):
            flight.land(upto)
            await asyncio.sleep(0.001)
        flight.verify()
        answers: list[Answer] = await asyncio.gather(*clients)
        assert all(answer.content == CONTENT for answer in answers)
        assert sum("collapsed" in answer.fields["cache-status"] for answer in answers) == 19
        assert flight.released == 20


async def test_client_that_leaves_releases_the_body(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
        writer.close()
        upto = 0
        while not flight.released:
            upto += 1000
            assert upto < len(CONTENT)
            flight.land(upto)
            await asyncio.sleep(0.01)


async def test_connection_serves_the_next_request_after_a_followed_one(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=-1)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        await until(lambda: flight.bodies)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: m\r\n\r\n")
        flight.verify()
        received = await come(reader, len(CONTENT))
        first = parse_answer(received)
        second = parse_answer(await end(reader, writer, first.rest))
        assert (first.content, second.content) == (CONTENT, b"live\n")


async def test_restarted_keeper_goes_on_in_the_same_file(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        await until(lambda: flight.bodies)
        flight.land(100_000)
        received = await come(reader, 100_000)
        body = flight.bodies[0]
        resumed = GrowingAnswer(
            flight=2,
            path=str(tmp_path / "flight"),
            entry=body.entry,
            sendable=100_000,
            landed=100_000,
            length=len(CONTENT),
            collapsed=False,
        )
        assert body.resume(resumed)
        flight.verify()
        answer = parse_answer(await end(reader, writer, received))
        assert answer.is_complete
        assert answer.content == CONTENT


async def test_restarted_keeper_with_another_file_breaks_the_body(tmp_path: Path) -> None:
    """Bytes of two files must never be joined: the first were sent before their digest agreed."""
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        await until(lambda: flight.bodies)
        flight.land(100_000)
        received = await come(reader, 100_000)
        (tmp_path / "other").write_bytes(CONTENT)
        body = flight.bodies[0]
        resumed = GrowingAnswer(
            flight=2,
            path=str(tmp_path / "other"),
            entry=body.entry,
            sendable=200_000,
            landed=200_000,
            length=len(CONTENT),
            collapsed=False,
        )
        body.resume(resumed)
        answer = parse_answer(await end(reader, writer, received))
        assert not answer.is_complete
        assert len(answer.content) == 100_000


async def test_restarted_keeper_may_answer_inline_before_anything_was_sent(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=-1)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
        body = flight.bodies[0]
        assert body.resume(InlineBody(entry=body.entry, outcome="hit", content=CONTENT))
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = parse_answer(await end(reader, writer, head))
        assert answer.is_complete
        assert answer.content == CONTENT


async def test_file_that_cannot_be_opened_is_a_status(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        (tmp_path / "flight").unlink()
        bench.keeper.script = flight.answer
        assert (await bench.get(CRATE_TARGET)).status == 503
        assert flight.released == len(flight.bodies) == 3  # it was asked for again, in vain
