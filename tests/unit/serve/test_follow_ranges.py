"""Ranges of content that is still coming."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from mirror.config import Config, Trust
from mirror.fill.messages import Purpose
from tests.unit.serve.fakes import (
    CRATE_TARGET,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.flights import CONTENT, HELD, QUIET_S, Flight, begin, come, end, until


async def test_range_is_sent_as_it_lands(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Range: bytes=280000-289999")
        await until(lambda: flight.bodies)
        flight.land(285_000)
        received = await come(reader, 5_000)
        assert parse_answer(received).content == CONTENT[280_000:285_000]
        flight.land(290_000)
        answer = parse_answer(await end(reader, writer, received))
        assert (answer.status, answer.is_complete) == (206, True)
        assert answer.content == CONTENT[280_000:290_000]
        ask = bench.keeper.asked[0]
        assert (ask.purpose, ask.range_start, ask.range_end) == (Purpose.FETCH, 280_000, 290_000)


@pytest.mark.parametrize(
    ("status", "is_complete"),
    [pytest.param(502, False, id="wrong"), pytest.param(503, True, id="cut")],
)
async def test_range_of_content_known_to_be_wrong_is_not_gone_on_with(
    tmp_path: Path, status: int, is_complete: bool
) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Range: bytes=280000-289999")
        await until(lambda: flight.bodies)
        flight.land(285_000)
        received = await come(reader, 5_000)
        flight.land(290_000)
        flight.fail(status)
        answer = parse_answer(await end(reader, writer, received))
        assert (answer.status, answer.is_complete) == (206, is_complete)


WHOLE_RANGES = [
    pytest.param("bytes=0-", id="open-end"),
    pytest.param(f"bytes=-{len(CONTENT) + 9}", id="suffix-beyond-the-start"),
    *(
        pytest.param(value, id=name, marks=pytest.mark.full)
        for name, value in {
            "to-the-last-byte": f"bytes=0-{len(CONTENT) - 1}",
            "beyond-the-end": f"bytes=0-{len(CONTENT) + 9}",
            "suffix": f"bytes=-{len(CONTENT)}",
        }.items()
    ),
]


@pytest.mark.parametrize("range_", WHOLE_RANGES)
async def test_range_that_is_the_whole_is_withheld_as_a_whole(tmp_path: Path, range_: str) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, f"Range: {range_}")
        await until(lambda: flight.bodies)
        flight.land(len(CONTENT))
        received = await come(reader, len(CONTENT) - HELD)
        assert len(parse_answer(received).content) == len(CONTENT) - HELD
        flight.verify()
        assert parse_answer(await end(reader, writer, received)).is_complete


@pytest.mark.parametrize("range_", WHOLE_RANGES)
async def test_attack_wrong_content_is_never_a_complete_206_of_the_whole(
    tmp_path: Path, range_: str
) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, f"Range: {range_}")
        await until(lambda: flight.bodies)
        flight.land(len(CONTENT))
        received = await come(reader, len(CONTENT) - HELD)
        flight.fail()
        answer = parse_answer(await end(reader, writer, received))
        assert (answer.status, answer.is_complete) == (206, False)
        assert len(answer.content) == len(CONTENT) - HELD


async def test_range_that_ends_in_what_has_not_landed_waits_for_it(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Range: bytes=299000-")
        await until(lambda: flight.bodies)
        flight.land(299_500)
        received = await come(reader, 500)
        assert parse_answer(received).content == CONTENT[299_000:299_500]
        flight.fail()
        answer = parse_answer(await end(reader, writer, received))
        assert not answer.is_complete


@pytest.mark.parametrize("range_", ["bytes=0-9", f"bytes=0-{len(CONTENT) - 1}"])
async def test_http10_range_gets_nothing_before_all_is_verified(
    tmp_path: Path, range_: str
) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, f"Range: {range_}", line=f"GET {CRATE_TARGET} HTTP/1.0")
        await until(lambda: flight.bodies)
        flight.land(len(CONTENT))
        assert await read_all(reader, QUIET_S) == b""
        flight.verify()
        answer = parse_answer(await end(reader, writer))
        assert (answer.status, answer.is_complete) == (206, True)


async def test_range_that_waited_for_a_bad_digest_is_a_status(tmp_path: Path) -> None:
    config = Config(trust=Trust(unverified_ranges="wait"))
    async with running_worker(tmp_path, config) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Range: bytes=0-9")
        await until(lambda: flight.bodies)
        flight.land(len(CONTENT))
        assert await read_all(reader, QUIET_S) == b""
        flight.fail()
        assert parse_answer(await end(reader, writer)).status == 502


@pytest.mark.parametrize(
    ("lines", "length", "status"),
    [
        pytest.param((), len(CONTENT), 200, id="whole"),
        pytest.param((), -1, 200, id="chunked"),
        pytest.param(("Range: bytes=5-9",), len(CONTENT), 206, id="part"),
    ],
)
async def test_growing_content_states_the_digest_of_the_whole(
    tmp_path: Path, lines: tuple[str, ...], length: int, status: int
) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=length)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, *lines)
        await until(lambda: flight.bodies)
        flight.verify()
        answer = parse_answer(await end(reader, writer))
        expected = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
        assert (answer.status, answer.fields["repr-digest"]) == (status, f"sha-256=:{expected}:")


async def test_range_waits_for_the_digest_when_told_so(tmp_path: Path) -> None:
    config = Config(trust=Trust(unverified_ranges="wait"))
    async with running_worker(tmp_path, config) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Range: bytes=0-9")
        await until(lambda: flight.bodies)
        flight.land(len(CONTENT))
        assert await read_all(reader, QUIET_S) == b""
        flight.verify()
        assert parse_answer(await end(reader, writer)).content == CONTENT[:10]


async def test_range_of_unknown_length_is_answered_whole(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path, length=-1)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Range: bytes=0-9")
        await until(lambda: flight.bodies)
        flight.verify()
        answer = parse_answer(await end(reader, writer))
        assert (answer.status, answer.content) == (200, CONTENT)
