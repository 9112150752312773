"""Conditions and ranges over real sockets, wherever the content comes from."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.config import Config, Trust
from mirror.route.route import ContentClass
from mirror.serve.segment_exchange import HELD_S
from tests.multipart_message import read_parts
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    Answer,
    Bench,
    config_with,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.flights import CONTENT as GROWING
from tests.unit.serve.flights import HELD, QUIET_S, Flight, begin, come, end, until
from tests.unit.serve.slow_client import SlowClient

SMALL, LARGE = os.urandom(1_000), os.urandom(1_000_003)
PART_HEAD_BYTES = 200

Given = Callable[[Bench, Path], bytes]


def stored_small(bench: Bench, _: Path) -> bytes:
    bench.reader.keep(CRATE_KEY, SMALL)
    return SMALL


def stored_large(bench: Bench, _: Path) -> bytes:
    bench.reader.keep(CRATE_KEY, LARGE)
    return LARGE


def inline_small(bench: Bench, _: Path) -> bytes:
    bench.keeper.answer_inline(CRATE_KEY, SMALL, "fwd=uri-miss; stored")
    return SMALL


def inline_large(bench: Bench, _: Path) -> bytes:
    bench.keeper.answer_inline(CRATE_KEY, LARGE, "fwd=uri-miss; stored")
    return LARGE


def grown(bench: Bench, path: Path) -> bytes:
    flight = Flight(path)

    async def script(ask: object) -> object:
        body = await flight.answer(ask)  # type: ignore[arg-type]  # the keeper's own Ask
        flight.verify()
        return body

    bench.keeper.script = script  # type: ignore[assignment]  # as above
    return GROWING


ORIGINS = pytest.mark.parametrize(
    "given", [stored_small, stored_large, inline_small, inline_large, grown]
)


def whole(content: bytes) -> list[tuple[int, bytes]]:
    return [(0, content)]


def parts_of(answer: Answer) -> list[tuple[int, bytes]]:
    """(first offset, bytes) of what an answer holds."""
    if answer.status != 206:
        return [(0, answer.content)]
    if "content-range" in answer.fields:
        first = int(answer.fields["content-range"].removeprefix("bytes ").partition("-")[0])
        return [(first, answer.content)]
    parts = read_parts(answer.fields["content-type"], answer.content)
    return [(part.first, part.content) for part in parts]


@ORIGINS
async def test_ranges_select_the_same_wherever_the_content_is(tmp_path: Path, given: Given) -> None:
    async with running_worker(tmp_path) as bench:
        content = given(bench, tmp_path)
        size = len(content)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        cases: list[tuple[tuple[str, ...], int, list[tuple[int, bytes]]]] = [
            (("bytes=0-0",), 206, [(0, content[:1])]),
            (("bytes=-1",), 206, [(size - 1, content[-1:])]),
            ((f"bytes=5-{2**70}",), 206, [(5, content[5:])]),
            (("bytes=0-4,7-9",), 206, [(0, content[:5]), (7, content[7:10])]),
            (("bytes=-3,0-9",), 206, [(size - 3, content[-3:]), (0, content[:10])]),
            (("bytes=0-499,500-",), 206, [(0, content[:500]), (500, content[500:])]),
            (("bytes=0-4,9999999-",), 206, [(0, content[:5])]),
            (("bytes=0-4", "0-4"), 200, whole(content)),
            (("bytes=0-4", "7-9"), 206, [(0, content[:5]), (7, content[7:10])]),
            (("bytes=0-4,4-9",), 200, whole(content)),
            ((",".join(["bytes=0-"] + ["0-"] * 59),), 200, whole(content)),
            (("lines=0-4",), 200, whole(content)),
        ]
        for ranges, status, expected in cases:
            answer = await bench.get(CRATE_TARGET, *(f"Range: {value}" for value in ranges))
            assert (ranges, answer.status) == (ranges, status)
            assert answer.is_complete
            assert parts_of(answer) == expected
            assert answer.fields["etag"] == etag
            assert len(answer.content) <= size + 33 * PART_HEAD_BYTES


@ORIGINS
async def test_conditions_decide_the_same_wherever_the_content_is(
    tmp_path: Path, given: Given
) -> None:
    async with running_worker(tmp_path) as bench:
        content = given(bench, tmp_path)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        several = "Range: bytes=0-1,5-6"
        cases: list[tuple[tuple[str, ...], int]] = [
            ((f"If-Match: {etag}", several), 206),
            ((f"If-Match: W/{etag}", several), 412),
            (("If-Unmodified-Since: Tue Nov 14 22:13:19 2023", several), 412),
            ((f"If-None-Match: {etag}", several), 304),
            (('If-None-Match: "a,b"', f"If-None-Match: {etag}"), 304),
            (("If-Modified-Since: Tuesday, 14-Nov-23 22:13:21 GMT",), 304),
            ((f"If-Range: {etag}", several), 206),
            ((f"If-Range: W/{etag}", several), 200),
            (("If-Range: Tue, 14 Nov 2023 22:13:20 GMT", several), 206),
            (("If-Range: Tue, 14 Nov 2023 22:13:21 GMT", several), 200),
            ((f"If-Range: {etag}", "Range: bytes=9999999-"), 416),
            (('If-Range: "x"', "Range: bytes=9999999-"), 200),
        ]
        for lines, status in cases:
            answer = await bench.get(CRATE_TARGET, *lines)
            assert (lines, answer.status) == (lines, status)
            assert answer.fields["etag"] == etag
            if status == 416:
                assert answer.fields["content-range"] == f"bytes */{len(content)}"


@ORIGINS
async def test_the_connection_goes_on_after_several_parts(tmp_path: Path, given: Given) -> None:
    async with running_worker(tmp_path) as bench:
        content = given(bench, tmp_path)
        first = f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\nRange: bytes=5-6,-600\r\n\r\n"
        second = "GET /livez HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n"
        answer = parse_answer(await bench.exchange((first + second).encode()))
        assert parts_of(answer) == [(5, content[5:7]), (len(content) - 600, content[-600:])]
        assert parse_answer(answer.rest).content == b"live\n"


async def test_a_slow_reader_of_several_inline_parts_is_moved_to_the_file(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        content = inline_large(bench, tmp_path)
        client = SlowClient(bench)
        client.ask(f"GET {CRATE_TARGET} HTTP/1.1", "Range: bytes=500000-,0-400000")
        await until(lambda: client.is_waited_for)
        looked = bench.reader.lookups
        bench.reader.keep(CRATE_KEY, content)
        async with asyncio.timeout(10 * HELD_S):
            while bench.reader.lookups == looked:
                await asyncio.sleep(0.01)
        answer = await client.answer()
        assert parts_of(answer) == [(500_000, content[500_000:]), (0, content[:400_001])]
        client.leave()


async def test_the_setting_bounds_how_many_ranges_are_answered(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(max_ranges=2)) as bench:
        bench.reader.keep(CRATE_KEY, SMALL)
        statuses = [
            (await bench.get(CRATE_TARGET, f"Range: bytes={value}")).status
            for value in ("0-0", "0-0,2-2", "0-0,2-2,4-4")
        ]
        assert statuses == [206, 206, 200]


async def test_an_empty_object_has_no_part(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, b"")
        for value, status in (("0-", 416), ("0-0,1-1", 416), ("-5", 200), ("-0", 416)):
            answer = await bench.get(CRATE_TARGET, f"Range: bytes={value}")
            assert (value, answer.status) == (value, status)
            assert answer.fields.get("content-range") == ("bytes */0" if status == 416 else None)


async def test_a_head_with_ranges_is_that_of_the_whole(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, LARGE)
        for value in ("0-0", "0-0,5-6", "9999999-"):
            answer = await bench.get(CRATE_TARGET, f"Range: bytes={value}", method="HEAD")
            assert (answer.status, answer.fields["content-length"]) == (200, str(len(LARGE)))


async def test_content_made_here_has_parts_too(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        answer = await bench.get("/livez", "Range: bytes=3-,0-0")
        assert parts_of(answer) == [(3, b"e\n"), (0, b"l")]


async def test_content_digest_is_stated_when_asked_for(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        for given in (stored_small, stored_large, inline_small, grown):
            bench.reader.entries.clear()
            bench.page.bump_epoch()
            given(bench, tmp_path)
            for wish, is_stated in (("sha-256=1", True), ("sha-512=1", False)):
                answer = await bench.get(CRATE_TARGET, f"Want-Content-Digest: {wish}")
                stated = answer.fields.get("content-digest")
                assert stated == (answer.fields["repr-digest"] if is_stated else None)
            assert "content-digest" not in (await bench.get(CRATE_TARGET)).fields


# While the content grows.


async def test_parts_are_sent_as_far_as_their_bytes_have_landed(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Range: bytes=100000-199999,0-9,250000-")
        await until(lambda: flight.bodies)
        flight.land(150_000)
        received = await come(reader, 50_000)
        assert parse_answer(received).content.endswith(GROWING[100_000:150_000])
        flight.land(200_000)
        received = await come(reader, 100_000, received)
        # The head of the part that waits has come; nothing of the part.
        assert parse_answer(received).content.endswith(b"bytes 250000-299999/300000\r\n\r\n")
        flight.verify()
        answer = parse_answer(await end(reader, writer, received))
        assert answer.is_complete
        assert parts_of(answer) == [
            (100_000, GROWING[100_000:200_000]),
            (0, GROWING[:10]),
            (250_000, GROWING[250_000:]),
        ]
        assert flight.released == 1
        row = bench.count(ContentClass.CRATE, Outcome.MISS)
        assert row == (1, len(answer.content))


@pytest.mark.parametrize("value", ["bytes=0-99,100-", "bytes=100-,0-99"])
async def test_attack_wrong_content_is_never_complete_in_parts_that_are_the_whole(
    tmp_path: Path, value: str
) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, f"Range: {value}")
        await until(lambda: flight.bodies)
        flight.land(len(GROWING))
        received = await come(reader, len(GROWING) - HELD)
        flight.fail()
        answer = parse_answer(await end(reader, writer, received))
        assert (answer.status, answer.is_complete) == (206, False)
        assert len(answer.content) <= len(GROWING) - HELD + 2 * PART_HEAD_BYTES


async def test_parts_wait_for_the_digest_when_told_so(tmp_path: Path) -> None:
    config = Config(trust=Trust(unverified_ranges="wait"))
    async with running_worker(tmp_path, config) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Range: bytes=0-9,20-29")
        await until(lambda: flight.bodies)
        flight.land(len(GROWING))
        assert await read_all(reader, QUIET_S) == b""
        flight.verify()
        answer = parse_answer(await end(reader, writer))
        assert parts_of(answer) == [(0, GROWING[:10]), (20, GROWING[20:30])]


async def test_what_counts_as_given_out_is_of_the_representation(tmp_path: Path) -> None:
    """A keeper that restarts must have as much of the file; the message is longer than that."""
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        client = SlowClient(bench)
        client.ask(f"GET {CRATE_TARGET} HTTP/1.1", "Range: bytes=50000-249999,0-9")
        await until(lambda: flight.bodies)
        flight.land(250_000)
        await until(lambda: client.is_waited_for)
        assert flight.bodies[0].sent == 250_000
        answer = await client.answer()
        assert parts_of(answer) == [(50_000, GROWING[50_000:250_000]), (0, GROWING[:10])]
        assert flight.bodies[0].sent == 250_000
        client.leave()


async def test_failure_before_the_first_part_is_a_status(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Range: bytes=1000-2000,0-9", "Connection: close")
        await until(lambda: flight.bodies)
        flight.land(500)
        flight.fail()
        assert parse_answer(await end(reader, writer)).status == 502


async def test_failure_within_a_part_is_an_incomplete_message(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench, "Range: bytes=0-9,1000-2000")
        await until(lambda: flight.bodies)
        flight.land(1_500)
        received = await come(reader, 510)
        flight.fail()
        answer = parse_answer(await end(reader, writer, received))
        assert (answer.status, answer.is_complete) == (206, False)
        assert answer.content.endswith(GROWING[1_000:1_500])
