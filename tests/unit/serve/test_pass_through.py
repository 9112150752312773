"""Content that is not stored: relayed as it comes, never made to look complete."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.bodies import PassThroughBody
from mirror.fill.messages import Failed
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    make_entry,
    parse_answer,
    running_worker,
)
from tests.unit.serve.flights import CONTENT, LENGTHS, begin, come, end, until


class Passing:
    """A pass-through body under the test's hand."""

    def __init__(self, length: int) -> None:
        self.released = 0
        self.credited = 0
        self.body = PassThroughBody(
            make_entry(CRATE_KEY, CONTENT),
            length,
            on_read=self._on_read,
            on_release=self._on_release,
        )

    def _on_read(self, count: int) -> None:
        self.credited += count

    def _on_release(self) -> None:
        self.released += 1


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_pass_through_arrives_whole(tmp_path: Path, length: int, version: str) -> None:
    async with running_worker(tmp_path) as bench:
        passing = Passing(length)
        bench.keeper.answer(passing.body)
        reader, writer = await begin(bench, line=f"GET {CRATE_TARGET} {version}")
        for at in range(0, len(CONTENT), 50_000):
            passing.body.feed(CONTENT[at : at + 50_000])
            await asyncio.sleep(0.001)
        passing.body.finish(None)
        answer = parse_answer(await end(reader, writer))
        assert answer.is_complete
        assert answer.content == CONTENT
        assert answer.fields["cache-status"] == "rust-mirror; fwd=uri-miss"


@pytest.mark.parametrize("length", LENGTHS)
async def test_aborted_pass_through_is_incomplete(tmp_path: Path, length: int) -> None:
    async with running_worker(tmp_path) as bench:
        passing = Passing(length)
        bench.keeper.answer(passing.body)
        reader, writer = await begin(bench)
        passing.body.feed(CONTENT[:1000])
        received = await come(reader, 1000)
        passing.body.finish(Failed(status=502, reason="wrong digest"))
        answer = parse_answer(await end(reader, writer, received))
        assert not answer.is_complete


async def test_nothing_is_sent_behind_the_announced_length(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        passing = Passing(1000)
        bench.keeper.answer(passing.body)
        reader, writer = await begin(bench)
        passing.body.feed(CONTENT[:900])
        received = await come(reader, 900)
        passing.body.feed(CONTENT[900:1500])
        answer = parse_answer(await end(reader, writer, received))
        assert answer.content == CONTENT[:900]
        assert not answer.is_complete
        assert passing.released


async def test_aborted_pass_through_is_a_status_for_http10(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        passing = Passing(len(CONTENT))
        bench.keeper.answer(passing.body)
        reader, writer = await begin(bench, line=f"GET {CRATE_TARGET} HTTP/1.0")
        passing.body.feed(CONTENT[:1000])
        passing.body.finish(Failed(status=502, reason="wrong digest"))
        assert parse_answer(await end(reader, writer)).status == 503


async def test_slow_reader_of_a_pass_through_holds_the_sender_back(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        passing = Passing(-1)
        bench.keeper.answer(passing.body)
        _, writer = await asyncio.open_connection("127.0.0.1", bench.port, limit=1)
        writer.write(f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        for _ in range(400):
            passing.body.feed(CONTENT[:100_000])
        await asyncio.sleep(0.2)
        assert passing.credited < 40_000_000
        writer.transport.abort()
        await until(lambda: passing.released)
