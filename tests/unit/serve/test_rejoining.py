"""A body whose file the disk gave up under: whole all the same, and never joined to other bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.fill.bodies import InlineBody, Reply
from mirror.fill.messages import Ask, Failed, FlightState, Purpose, StoredAnswer
from mirror.route.route import ContentClass
from tests.unit.serve.fakes import (
    CRATE_KEY,
    Answer,
    Bench,
    make_entry,
    parse_answer,
    running_worker,
)
from tests.unit.serve.flights import CONTENT, LENGTHS, Flight, begin, end, until
from tests.unit.serve.test_pass_through import Passing

LANDED = 200_000
Second = Callable[[Bench, Path], Awaitable[Reply]]
GIVEN_OUT_OTHERWISE = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
UNSTORED = Failed(status=503, reason="the disk", is_unstored=True)


class LeftFlight(Flight):
    """A growing file that its disk gives up under."""

    def leave(self) -> None:
        os.unlink(self._file)
        self._state = FlightState.FAILED
        self._move(UNSTORED)


async def passed_through(_: Bench, __: Path) -> Reply:
    passing = Passing(len(CONTENT))
    for at in range(0, len(CONTENT), 30_000):
        passing.body.feed(CONTENT[at : at + 30_000])
    passing.body.finish(None)
    return passing.body


async def stored(bench: Bench, _: Path) -> Reply:
    return StoredAnswer(stored=bench.reader.keep(CRATE_KEY, CONTENT), outcome="hit")


async def inline(_: Bench, __: Path) -> Reply:
    entry = make_entry(CRATE_KEY, CONTENT)
    return InlineBody(entry=entry, outcome="hit", content=CONTENT)


async def grown_again(_: Bench, path: Path) -> Reply:
    (path / "second").mkdir()
    flight = Flight(path / "second")
    body = await flight.answer(Ask(purpose=Purpose.FETCH, key=CRATE_KEY))
    asyncio.get_running_loop().call_soon(flight.verify)
    return body


async def grown_until_its_keeper_was_lost(_: Bench, path: Path) -> Reply:
    """The next keeper has it verified in memory; the former's file is there, and is not it."""
    (path / "second").mkdir()
    flight = Flight(path / "second")
    body = await flight.answer(Ask(purpose=Purpose.FETCH, key=CRATE_KEY))
    (path / "second" / "flight").write_bytes(CONTENT[:-1] + b"!")
    answer = InlineBody(entry=body.entry, outcome="hit", content=CONTENT)
    asyncio.get_running_loop().call_soon(body.resume, answer)
    return body


async def broken_off(_: Bench, __: Path) -> Reply:
    passing = Passing(len(CONTENT))
    passing.body.feed(CONTENT[:250_000])
    passing.body.finish(Failed(status=503, reason="upstream broke off"))
    return passing.body


async def of_another_version(_: Bench, __: Path) -> Reply:
    other = CONTENT[:-1] + b"!"
    return InlineBody(entry=make_entry(CRATE_KEY, other), outcome="hit", content=other)


async def failed(_: Bench, __: Path) -> Reply:
    return Failed(status=503, reason="upstream is away")


async def answered(
    path: Path, second: Second, *lines: str, length: int = len(CONTENT), given: bytes = CONTENT
) -> tuple[Answer, int]:
    """Return what a client has of a body whose disk fails when `LANDED` bytes of it have landed,
    and how many content bytes were counted."""
    async with running_worker(path) as bench:
        flight = LeftFlight(path, length=length)

        async def script(ask: Ask) -> Reply:
            return await (second(bench, path) if flight.bodies else flight.answer(ask))

        bench.keeper.script = script
        reader, writer = await begin(bench, *lines)
        await until(lambda: flight.bodies)
        (path / "flight").write_bytes(given[:LANDED])
        flight._landed = LANDED
        flight._move()
        received = await reader.readexactly(1000)
        flight.leave()
        answer = parse_answer(await end(reader, writer, received))
        assert flight.released == 1
        assert len(bench.keeper.asked) == 2
        return answer, bench.count(ContentClass.CRATE, Outcome.MISS)[1]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    "second", [passed_through, stored, inline, grown_again, grown_until_its_keeper_was_lost]
)
async def test_a_body_that_the_disk_gave_up_under_arrives_whole(
    tmp_path: Path, second: Second, length: int
) -> None:
    answer, counted_bytes = await answered(tmp_path, second, length=length)
    assert answer.is_complete
    assert answer.content == CONTENT
    assert counted_bytes == len(CONTENT)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("second", [passed_through, stored, inline, grown_again])
async def test_what_was_given_out_is_never_joined_to_other_bytes(
    tmp_path: Path, second: Second, length: int
) -> None:
    answer, _ = await answered(tmp_path, second, length=length, given=GIVEN_OUT_OTHERWISE)
    assert not answer.is_complete
    assert answer.content == GIVEN_OUT_OTHERWISE[:LANDED]


@pytest.mark.parametrize("second", [broken_off, of_another_version, failed])
async def test_a_body_that_cannot_be_had_again_is_cut(tmp_path: Path, second: Second) -> None:
    answer, _ = await answered(tmp_path, second)
    assert not answer.is_complete
    assert CONTENT.startswith(answer.content)


@pytest.mark.parametrize("second", [passed_through, stored, inline, grown_again])
async def test_a_part_of_such_a_body_arrives_whole(tmp_path: Path, second: Second) -> None:
    answer, _ = await answered(tmp_path, second, "Range: bytes=150000-259999")
    assert answer.status == 206
    assert answer.is_complete
    assert answer.content == CONTENT[150_000:260_000]


async def test_what_failed_before_its_head_is_asked_for_again(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = LeftFlight(tmp_path)

        async def script(ask: Ask) -> Reply:
            if flight.bodies:
                return await passed_through(bench, tmp_path)
            body = await flight.answer(ask)
            flight.leave()
            return body

        bench.keeper.script = script
        reader, writer = await begin(bench)
        answer = parse_answer(await end(reader, writer))
        assert (answer.status, answer.content) == (200, CONTENT)


async def test_a_file_that_is_gone_before_it_is_opened_is_asked_for_again(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = LeftFlight(tmp_path)

        async def script(ask: Ask) -> Reply:
            if flight.bodies:
                return await passed_through(bench, tmp_path)
            body = await flight.answer(ask)
            os.unlink(tmp_path / "flight")
            return body

        bench.keeper.script = script
        reader, writer = await begin(bench)
        answer = parse_answer(await end(reader, writer))
        assert (answer.status, answer.content) == (200, CONTENT)
