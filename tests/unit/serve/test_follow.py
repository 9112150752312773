"""Content that is still coming: followed as it grows, never made to look complete."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirror.accounting.layout import Outcome
from mirror.config import Config, Trust
from mirror.fill.bodies import GrowingBody, InlineBody
from mirror.fill.messages import Ask, Failed, FlightState, GrowingAnswer, Progress, Purpose
from mirror.route.route import ContentClass
from mirror.store.files import REAL_FILES
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    Answer,
    Bench,
    make_entry,
    parse_answer,
    read_all,
    running_worker,
)

CONTENT = os.urandom(300_000)
HELD = 65_536
QUIET_S = 0.05  # long enough to see content that is sent too soon
DEADLINE_S = 10.0


class Flight:
    """A growing file under the test's hand."""

    def __init__(self, path: Path, *, length: int = len(CONTENT)) -> None:
        self._file = path / "flight"
        self._file.write_bytes(b"")
        self._landed = 0
        self._state = FlightState.RUNNING
        self._length = length
        self.released = 0
        self.bodies: list[GrowingBody] = []

    async def answer(self, ask: Ask) -> GrowingBody:
        answer = GrowingAnswer(
            flight=1,
            path=str(self._file),
            entry=make_entry(CRATE_KEY, CONTENT),
            sendable=self._sendable(),
            landed=self._landed,
            length=self._length,
            collapsed=bool(self.bodies),
        )
        body = GrowingBody(
            answer,
            ask=ask,
            blob_path=str(self._file) + ".blob",
            files=REAL_FILES,
            on_release=self._on_release,
        )
        self.bodies.append(body)
        return body

    def land(self, upto: int) -> None:
        with self._file.open("ab") as file:
            file.write(CONTENT[self._landed : upto])
        self._landed = upto
        self._move()

    def verify(self) -> None:
        self.land(len(CONTENT))
        self._state, self._length = FlightState.VERIFIED, len(CONTENT)
        self._move()

    def fail(self, status: int = 502) -> None:
        self._state = FlightState.FAILED
        self._move(Failed(status=status, reason="another digest, or cut off"))

    def _sendable(self) -> int:
        if self._state is FlightState.VERIFIED:
            return self._landed
        return max(0, min(self._landed, len(CONTENT) - HELD))

    def _move(self, failure: Failed | None = None) -> None:
        for body in self.bodies:
            body.advance(
                Progress(
                    flight=1,
                    sendable=self._sendable(),
                    landed=self._landed,
                    length=self._length,
                    state=self._state,
                    failure=failure,
                )
            )

    def _on_release(self, body: GrowingBody) -> None:
        self.released += 1


async def begin(bench: Bench, *lines: str, line: str = "") -> tuple[Any, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    head = [line or f"GET {CRATE_TARGET} HTTP/1.1", "Host: m", *lines]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n")
    return reader, writer


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)


async def come(reader: asyncio.StreamReader, content_bytes: int, received: bytes = b"") -> bytes:
    """Return an answer of which so much content is to come now, and no more; `received`: of it."""

    def is_there(answer: bytes) -> bool:
        return b"\r\n\r\n" in answer and len(parse_answer(answer).content) >= content_bytes

    received = await _read_until(is_there, reader, received)
    return received + await read_all(reader, QUIET_S)


async def end(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: bytes = b""
) -> bytes:
    """Return an answer when it is complete, or cut; `received`: what has come of it before."""

    def is_there(answer: bytes) -> bool:
        return b"\r\n\r\n" in answer and parse_answer(answer).is_complete

    received = await _read_until(is_there, reader, received)
    writer.close()
    return received


async def _read_until(
    claim: Callable[[bytes], bool], reader: asyncio.StreamReader, received: bytes
) -> bytes:
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(DEADLINE_S):
            while not claim(received) and (piece := await reader.read(1 << 20)):
                received += piece
    return received


LENGTHS = [pytest.param(len(CONTENT), id="length"), pytest.param(-1, id="chunked")]


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
