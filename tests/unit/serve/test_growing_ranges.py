"""Parts of a body that comes out of order: each client waits for its own bytes alone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.fill.bodies import GrowingBody, InlineBody, Reply
from mirror.fill.messages import Ask, Failed, FlightState, GrowingAnswer, Progress
from mirror.route.route import ContentClass
from mirror.store.extents import Runs
from mirror.store.files import REAL_FILES
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    make_entry,
    parse_answer,
    read_all,
    running_worker,
)

CONTENT = os.urandom(300_000)
SIZE = len(CONTENT)
CHANGED = Failed(status=503, reason="changed upstream", is_changed=True)


class SparseFlight:
    """A growing file whose bytes come in any order."""

    def __init__(self, path: Path) -> None:
        self._path = path / "flight"
        self._path.write_bytes(b"")
        self.landed = 0
        self.ahead: Runs = ()
        self.is_kept = True
        self.bodies: list[GrowingBody] = []

    async def answer(self, ask: Ask) -> Reply:
        body = GrowingBody(
            GrowingAnswer(
                flight=1,
                path=str(self._path),
                entry=make_entry(CRATE_KEY, CONTENT),
                sendable=0,
                landed=self.landed,
                length=SIZE,
                collapsed=False,
                is_kept=self.is_kept,
                ahead=self.ahead,
            ),
            ask=ask,
            blob_path=f"{self._path}.blob",
            files=REAL_FILES,
            on_release=lambda _: None,
        )
        self.bodies.append(body)
        return body

    def land(self, *runs: tuple[int, int], failure: Failed | None = None) -> None:
        """Let exactly these be there; the first begins at 0 or is ahead."""
        with self._path.open("r+b") as file:
            for start, end in runs:
                file.seek(start)
                file.write(CONTENT[start:end])
        self.landed = runs[0][1] if runs and not runs[0][0] else 0
        self.ahead = tuple(run for run in runs if run[0])
        for body in self.bodies:
            body.advance(
                Progress(
                    flight=1,
                    sendable=min(self.landed, SIZE - 65536),
                    landed=self.landed,
                    length=SIZE,
                    state=FlightState.FAILED if failure else FlightState.RUNNING,
                    failure=failure,
                    ahead=self.ahead,
                )
            )


async def begin(
    port: int, value: str, *, protocol: str = "HTTP/1.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {CRATE_TARGET} {protocol}\r\nHost: m\r\nRange: {value}\r\n\r\n".encode())
    return reader, writer


async def until_asked(flight: SparseFlight, count: int = 1) -> None:
    async with asyncio.timeout(5):
        while len(flight.bodies) < count:
            await asyncio.sleep(0.001)


async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    received = await read_all(reader)
    writer.close()
    return received


async def test_a_part_is_sent_as_soon_as_its_own_bytes_are_there(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = SparseFlight(tmp_path)
        bench.keeper.script = flight.answer
        ahead, ahead_writer = await begin(bench.port, "bytes=-1000")
        behind, behind_writer = await begin(bench.port, "bytes=0-999")
        await until_asked(flight, 2)
        flight.land((SIZE - 1000, SIZE))
        answer = parse_answer(await end(ahead, ahead_writer))
        assert (answer.status, answer.is_complete) == (206, True)
        assert answer.content == CONTENT[-1000:]
        flight.land((0, 1000), (SIZE - 1000, SIZE))
        assert parse_answer(await end(behind, behind_writer)).content == CONTENT[:1000]
        assert bench.count(ContentClass.CRATE, Outcome.MISS) == (2, 2000)


async def test_a_part_goes_on_from_one_run_into_the_next(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = SparseFlight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench.port, "bytes=100000-299999")
        await until_asked(flight)
        flight.land((100_000, 150_000), (200_000, 300_000))
        received = await read_all(reader, 0.1)
        assert parse_answer(received).content == CONTENT[100_000:150_000]
        flight.land((0, 160_000), (200_000, 300_000))
        received += await read_all(reader, 0.1)
        assert parse_answer(received).content == CONTENT[100_000:160_000]
        flight.land((0, 300_000))
        answer = parse_answer(received + await end(reader, writer))
        assert answer.is_complete
        assert answer.content == CONTENT[100_000:]


async def test_a_part_that_fails_before_its_first_byte_is_a_clean_status(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = SparseFlight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench.port, "bytes=-1000")
        await until_asked(flight)
        flight.land((0, 1000))
        assert await read_all(reader, 0.05) == b""
        flight.land((0, 1000), failure=Failed(status=503, reason="upstream is away"))
        assert parse_answer(await end(reader, writer)).status == 503


async def test_a_part_that_fails_behind_its_first_byte_is_cut(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = SparseFlight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench.port, "bytes=-1000")
        await until_asked(flight)
        run = (SIZE - 1000, SIZE - 500)
        flight.land(run)
        received = await read_all(reader, 0.1)
        flight.land(run, failure=CHANGED)
        answer = parse_answer(received + await end(reader, writer))
        assert (answer.status, answer.is_complete) == (206, False)
        assert answer.content == CONTENT[-1000:-500]


@pytest.mark.parametrize("tries", [1, 2])
async def test_who_has_nothing_of_a_changed_object_gets_the_next_version(
    tmp_path: Path, tries: int
) -> None:
    other = os.urandom(2000)
    async with running_worker(tmp_path) as bench:
        flight = SparseFlight(tmp_path)

        async def script(ask: Ask) -> Reply:
            if len(flight.bodies) < tries:
                return await flight.answer(ask)
            return InlineBody(
                entry=make_entry(CRATE_KEY, other), outcome="fwd=uri-miss", content=other
            )

        bench.keeper.script = script
        reader, writer = await begin(bench.port, "bytes=-1000")
        for count in range(1, tries + 1):
            await until_asked(flight, count)
            flight.land((0, 1000), failure=CHANGED)
        answer = parse_answer(await end(reader, writer))
        assert (answer.status, answer.content) == (206, other[-1000:])
        assert len(bench.keeper.asked) == tries + 1


async def test_an_object_that_changes_all_the_time_is_given_up(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = SparseFlight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench.port, "bytes=-1000")
        for count in range(1, 4):
            await until_asked(flight, count)
            flight.land((0, 1000), failure=CHANGED)
        assert parse_answer(await end(reader, writer)).status == 503


async def test_what_is_not_kept_is_not_called_stored(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = SparseFlight(tmp_path)
        flight.is_kept = False
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench.port, "bytes=-1000")
        await until_asked(flight)
        flight.land((SIZE - 1000, SIZE))
        answer = parse_answer(await end(reader, writer))
        assert answer.fields["cache-status"].endswith("fwd=uri-miss")


@pytest.mark.parametrize(
    ("value", "protocol", "hint"),
    [
        pytest.param("bytes=-1000", "HTTP/1.1", (-1000, -1), id="suffix"),
        pytest.param("bytes=5000-", "HTTP/1.1", (5000, -1), id="open"),
        pytest.param("bytes=5000-5999", "HTTP/1.1", (5000, 6000), id="closed"),
        pytest.param("bytes=0-", "HTTP/1.1", (0, -1), id="the-whole"),
        pytest.param("bytes=-99999999999999999999", "HTTP/1.1", (0, -1), id="a-huge-suffix"),
        pytest.param("bytes=1-2,5-6", "HTTP/1.1", (0, -1), id="several"),
        pytest.param("lines=1-2", "HTTP/1.1", (0, -1), id="another-unit"),
        pytest.param("bytes=-1000", "HTTP/1.0", (0, -1), id="who-gets-only-what-is-verified"),
    ],
)
async def test_the_keeper_is_told_what_is_wanted_first(
    tmp_path: Path, value: str, protocol: str, hint: tuple[int, int]
) -> None:
    async with running_worker(tmp_path) as bench:
        content = b"x" * 100
        bench.keeper.answer_inline(CRATE_KEY, content, "fwd=uri-miss")
        reader, writer = await begin(bench.port, value, protocol=protocol)
        await end(reader, writer)
        [ask] = bench.keeper.asked
        assert (ask.range_start, ask.range_end) == hint
        assert not ask.is_conditional
