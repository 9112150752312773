"""What `mirror.upstream` reports of each request: once, with what the connection really brought."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.errors import UpstreamError, VerificationError
from mirror.upstream.traffic import LEFT
from tests.unit.upstream.s3_world import error, found, scripted
from tests.unit.upstream.scripted_origin import (
    Answer,
    RecordingMeter,
    cut,
    origins,
    pools_of,
    reply,
)

REDIRECT = reply(302, b"moved", "Location: /y")


async def counted(
    *answers: Answer, asks: int = 1, read: bool = True, attempts: int = 3, timeout: float = 5.0
) -> RecordingMeter:
    """Ask the first URL `asks` times; failures are what the test looks at in the meter."""
    meter = RecordingMeter()
    async with (
        origins(answers) as (origin,),
        pools_of(origin.url, meter=meter, attempts=attempts, read_timeout=timeout) as pools,
    ):
        for _ in range(asks):
            try:
                async with pools["crates"].get("/x") as response:
                    if read:
                        [chunk async for chunk in response.chunks()]
            except UpstreamError:
                pass
    return meter


async def test_content_and_heads_are_counted_as_they_came() -> None:
    answer = reply(200, b"12345", 'ETag: "a"')
    meter = await counted(answer, reply(304, b"", 'ETag: "a"'), asks=2)
    whole, unchanged = meter.begun
    assert (whole.status, whole.received_bytes, whole.head_bytes) == (200, 5, len(answer) - 5)
    assert (unchanged.status, unchanged.received_bytes) == (304, 0)
    assert meter.errors == ["", ""]
    assert [each.end[0] for each in meter.begun] == [True, True]


async def test_each_attempt_is_an_exchange_of_its_own() -> None:
    meter = await counted(reply(503, b"away"), reply(429, b""), reply(200, b"12345"))
    assert meter.statuses == [503, 429, 200]
    assert [each.attempt for each in meter.begun] == [1, 2, 3]
    assert meter.errors == ["status 503", "status 429", ""]


async def test_attempts_are_counted_on_over_all_urls() -> None:
    meter = RecordingMeter()
    async with (
        origins([reply(500)], [reply()]) as (first, second),
        pools_of(first.url, second.url, meter=meter, attempts=2) as pools,
    ):
        async with pools["releases"].get("/x") as response:
            [chunk async for chunk in response.chunks()]
        told = [(each.url, each.attempt) for each in meter.begun]
        assert told == [(first.url, 1), (first.url, 2), (second.url, 3)]


async def test_a_connection_that_breaks_is_asked_again_only_where_it_is_counted() -> None:
    """The library's own second try is for connections that were idle (`upstream.reused`)."""
    meter = RecordingMeter()
    async with (
        origins([cut(b""), cut(b""), reply()]) as (origin,),
        pools_of(origin.url, meter=meter, attempts=3) as pools,
    ):
        async with pools["crates"].get("/x") as response:
            [chunk async for chunk in response.chunks()]
        assert len(origin.heads) == len(meter.begun) == 3


async def test_an_idle_connection_that_upstream_closed_costs_no_attempt() -> None:
    async with (
        origins([reply(), cut(b""), reply()]) as (origin,),
        pools_of(origin.url, attempts=1) as pools,
    ):
        for _ in range(2):
            async with pools["crates"].get("/x") as response:
                assert [chunk async for chunk in response.chunks()] == [b"content"]
        assert len(origin.heads) == 3


async def test_a_redirect_that_is_followed_is_a_request_and_no_failure() -> None:
    meter = await counted(REDIRECT, reply(200, b"12345"))
    assert (meter.statuses, meter.errors) == ([302, 200], ["", ""])
    assert [each.attempt for each in meter.begun] == [1, 1]
    assert meter.received_bytes == len(b"moved") + 5


async def test_a_redirect_elsewhere_is_a_failure() -> None:
    meter = await counted(reply(302, b"", "Location: http://elsewhere.example/"))
    assert (meter.statuses, meter.errors) == ([302], ["redirects elsewhere"])


async def test_content_that_breaks_off_is_a_failure_and_counts_what_came() -> None:
    meter = await counted(cut(reply(200, b"12345", length=1000)))
    (only,) = meter.begun
    assert only.received_bytes == 5
    is_complete, words = only.end
    assert not is_complete
    assert "after 5 bytes of content" in words


async def test_content_that_nobody_read_counts_because_upstream_sent_it() -> None:
    meter = await counted(reply(404, b"no such crate"), read=False)
    (only,) = meter.begun
    assert (only.status, only.received_bytes, only.end) == (404, 13, (True, ""))


async def test_leaving_early_is_no_failure_and_not_complete() -> None:
    meter = await counted(reply(200, b"some", length=1000), read=False)
    (only,) = meter.begun
    assert only.end == (False, "")


async def test_a_dead_upstream_is_asked_and_fails(unused_tcp_port: int) -> None:
    meter = RecordingMeter()
    async with pools_of(f"http://127.0.0.1:{unused_tcp_port}", meter=meter, attempts=1) as pools:
        with pytest.raises(UpstreamError):
            async with pools["crates"].get("/x"):
                pass
    (only,) = meter.begun
    assert only.status == 0
    assert "cannot connect" in only.end[1]


async def test_a_request_that_is_cancelled_before_its_answer_is_told() -> None:
    meter, silence = RecordingMeter(), asyncio.Event()

    def say_nothing(_writer: asyncio.StreamWriter) -> None:
        silence.set()

    async with origins([say_nothing]) as (origin,), pools_of(origin.url, meter=meter) as pools:

        async def ask() -> None:
            async with pools["crates"].get("/x"):
                raise AssertionError("nobody answered")

        asking = asyncio.create_task(ask())
        await silence.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    (only,) = meter.begun
    assert only.end == (False, LEFT)


async def test_waiting_for_a_connection_of_our_own_asks_nothing_of_the_upstream() -> None:
    meter = RecordingMeter()
    async with (
        origins([reply(200, b"some", length=1000)]) as (origin,),
        pools_of(
            origin.url, meter=meter, max_connections=1, read_timeout=0.1, connect_timeout=0.1
        ) as pools,
        pools["crates"].get("/held"),
    ):
        with pytest.raises(UpstreamError, match="stay in use"):
            async with pools["crates"].get("/waiting"):
                pass
        assert [each.path for each in meter.begun] == ["/held"]


async def test_a_stated_checksum_that_differs_is_a_failure(secret: Path) -> None:
    meter = RecordingMeter()
    stated = "x-amz-checksum-sha256: " + "A" * 43 + "="
    async with scripted(found(stated), secret=secret, meter=meter) as (_, pools):
        with pytest.raises(VerificationError):
            async with pools["releases"].get("/dist/x", expected_sha256=b"\x01" * 32):
                pass
    assert meter.errors == ["it states another checksum"]


class TestS3:
    async def test_a_missing_key_is_an_answer_with_its_content_counted(self, secret: Path) -> None:
        meter = RecordingMeter()
        answer = error(404, "NoSuchKey")
        async with (
            scripted(answer, secret=secret, meter=meter) as (_, pools),
            pools["releases"].get("/dist/x") as response,
        ):
            assert response.status == 404
        (only,) = meter.begun
        assert (only.status, only.end) == (404, (True, ""))
        assert only.received_bytes == len(answer.partition(b"\r\n\r\n")[2])

    async def test_trouble_is_a_failure(self, secret: Path) -> None:
        meter = RecordingMeter()
        async with scripted(error(503, "SlowDown"), secret=secret, meter=meter) as (_, pools):
            with pytest.raises(UpstreamError):
                async with pools["releases"].get("/dist/x"):
                    pass
        assert (meter.statuses, meter.errors) == ([503], ["status 503 (SlowDown)"])

    async def test_each_form_that_is_asked_for_is_a_request(self, secret: Path) -> None:
        meter = RecordingMeter()
        answers = (error(412, "PreconditionFailed"), found())
        async with scripted(*answers, secret=secret, meter=meter) as (_, pools):
            fields = {"range": "bytes=3-", "if-range": '"old"'}
            async with pools["releases"].get("/dist/x", fields=fields) as response:
                [chunk async for chunk in response.chunks()]
        assert (meter.statuses, meter.errors) == ([412, 200], ["", ""])

    async def test_a_head_that_says_nothing_is_followed_by_one_byte(self, secret: Path) -> None:
        meter = RecordingMeter()
        answers = (reply(404, b""), error(404, "NoSuchKey"))
        async with scripted(*answers, secret=secret, meter=meter) as (_, pools):
            assert await pools["releases"].describe("/dist/x") is None
        assert (meter.statuses, meter.errors) == ([404, 404], ["", ""])
