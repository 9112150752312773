"""What a pool does with bodies, with its further URLs and with redirects."""

from __future__ import annotations

import asyncio

import pytest

from mirror.errors import UpstreamError
from tests.unit.upstream.scripted_origin import (
    Answer,
    FakeClock,
    cut,
    origins,
    pools_of,
    reply,
)
from tests.unit.upstream.test_pool import content_of, failure_of, fetch


class TestBody:
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(cut(reply(200, b"x" * 500, length=1000)), id="cut"),
            pytest.param(
                cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n" + b"x" * 500),
                id="cut-chunk",
            ),
        ],
    )
    async def test_a_body_that_breaks_is_a_retryable_error(self, answer: Answer) -> None:
        async with origins([answer]) as (origin,), pools_of(origin.url) as pools:
            async with pools["crates"].get("/x") as response:
                with pytest.raises(UpstreamError) as caught:
                    await content_of(response)
            assert response.received_bytes == 500
            assert caught.value.retryable
            assert "after 500 bytes" in caught.value.reason
            assert len(origin.heads) == 1  # resuming is the caller's

    async def test_a_body_that_stalls_is_a_retryable_error(self) -> None:
        answer = reply(200, b"x" * 500, length=1000)
        async with (
            origins([answer]) as (origin,),
            pools_of(origin.url, read_timeout=0.05) as pools,
        ):
            error = await failure_of(pools["crates"])
            assert error.reason == "no answer in time after 500 bytes of content"

    async def test_a_chunked_body_may_have_any_length(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        async with (
            origins([answer]) as (origin,),
            pools_of(origin.url) as pools,
            pools["crates"].get("/x") as response,
        ):
            assert await content_of(response) == b"abc"

    async def test_a_large_body_arrives_whole(self) -> None:
        content = bytes(range(256)) * 8192
        async with origins([reply(200, content)]) as (origin,), pools_of(origin.url) as pools:
            assert await fetch(pools["releases"]) == (200, content)

    async def test_cancelling_while_reading_closes_the_connection(self) -> None:
        answer = reply(200, b"x" * 500, length=1000)
        async with origins([answer, reply()]) as (origin,), pools_of(origin.url) as pools:
            began = asyncio.Event()

            async def read() -> None:
                async with pools["crates"].get("/x") as response:
                    async for _ in response.chunks():
                        began.set()

            reading = asyncio.create_task(read())
            await began.wait()
            reading.cancel()
            await asyncio.wait([reading])
            assert reading.cancelled()
            assert await fetch(pools["crates"]) == (200, b"content")
            assert origin.connections == 2

    async def test_cancelling_before_the_head_passes_through(self) -> None:
        async with (
            origins([lambda writer: None]) as (origin,),
            pools_of(origin.url) as pools,
        ):
            asking = asyncio.create_task(fetch(pools["crates"]))
            while not origin.heads:
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            assert asking.cancelled()
            assert len(origin.heads) == 1


class TestFailover:
    async def test_the_next_url_answers_for_one_that_fails(self) -> None:
        async with (
            origins([reply(503)], [reply(200, b"second")]) as (first, second),
            pools_of(first.url, second.url) as pools,
        ):
            assert await fetch(pools["releases"]) == (200, b"second")
            assert (len(first.heads), len(second.heads)) == (3, 1)

    async def test_a_failed_url_is_asked_last_until_it_has_rested(self) -> None:
        clock = FakeClock()
        answers = [reply(503)] * 3 + [reply(200, b"first")]
        async with (
            origins(answers, [reply(200, b"second")]) as (first, second),
            pools_of(first.url, second.url, clock=clock) as pools,
        ):
            assert await fetch(pools["releases"]) == (200, b"second")
            assert await fetch(pools["releases"]) == (200, b"second")
            clock.at += 11
            assert await fetch(pools["releases"]) == (200, b"first")
            assert len(first.heads) == 4

    async def test_an_absence_is_an_answer_and_does_not_fail_over(self) -> None:
        async with (
            origins([reply(404)], [reply()]) as (first, second),
            pools_of(first.url, second.url) as pools,
        ):
            assert (await fetch(pools["releases"]))[0] == 404
            assert second.heads == []

    async def test_a_body_that_broke_is_resumed_elsewhere(self) -> None:
        async with (
            origins([cut(reply(200, b"x", length=9))], [reply(206, b"y")]) as (first, second),
            pools_of(first.url, second.url) as pools,
        ):
            await failure_of(pools["releases"])
            assert await fetch(pools["releases"]) == (206, b"y")
            assert (len(first.heads), len(second.heads)) == (1, 1)

    async def test_when_all_fail_the_last_failure_is_reported(self) -> None:
        async with (
            origins([reply(400, b"")], [reply(503)]) as (first, second),
            pools_of(first.url, second.url) as pools,
        ):
            error = await failure_of(pools["releases"])
            assert error.source.startswith(second.url)


class TestRedirects:
    async def test_a_redirect_within_the_origin_is_followed(self) -> None:
        answers = [reply(301, b"", "Location: /y?z=1"), reply()]
        async with origins(answers) as (origin,), pools_of(origin.url) as pools:
            assert await fetch(pools["crates"]) == (200, b"content")
            assert origin.requests[1] == "GET /y?z=1 HTTP/1.1"

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param(("Location: http://elsewhere.example/x",), id="another-host"),
            pytest.param(("Location: http://127.0.0.1:1/x",), id="another-port"),
            pytest.param(("Location: https://127.0.0.1/x",), id="another-scheme"),
            pytest.param(("Location: //elsewhere.example/x",), id="scheme-relative"),
            pytest.param(("Location: http://[::1/x",), id="broken"),
            pytest.param(("Location: file:///etc/passwd",), id="a-file"),
            pytest.param(("Location: data:text/plain,x",), id="no-host"),
            pytest.param((), id="nowhere"),
        ],
    )
    async def test_a_redirect_elsewhere_is_not_followed(self, fields: tuple[str, ...]) -> None:
        async with origins([reply(302, b"", *fields)]) as (origin,), pools_of(origin.url) as pools:
            error = await failure_of(pools["crates"])
            assert error.reason.startswith("redirects elsewhere")
            assert len(origin.heads) == 1

    async def test_a_redirect_loop_ends(self) -> None:
        answers = [reply(307, b"", "Location: /x")]
        async with origins(answers) as (origin,), pools_of(origin.url) as pools:
            error = await failure_of(pools["crates"])
            assert error.reason == "too many redirects"
            assert len(origin.heads) == 4
