"""`mirror.upstream.pool`: patient with temporary trouble, quick to give up on the rest."""

from __future__ import annotations

import asyncio

import pytest

import mirror
from mirror.errors import UpstreamError
from mirror.upstream.pool import Pool
from mirror.upstream.response import UpstreamResponse
from tests.unit.upstream.scripted_origin import (
    Answer,
    FakeClock,
    RecordingLog,
    RecordingMeter,
    cut,
    origins,
    pools_of,
    reply,
)


async def content_of(response: UpstreamResponse) -> bytes:
    return b"".join([chunk async for chunk in response.chunks()])


async def fetch(pool: Pool, path: str = "/x") -> tuple[int, bytes]:
    async with pool.get(path) as response:
        return response.status, await content_of(response)


async def failure_of(pool: Pool, path: str = "/x") -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await fetch(pool, path)
    return caught.value


class TestRequest:
    async def test_it_carries_our_name_and_no_other(self) -> None:
        async with (
            origins([reply()]) as (origin,),
            pools_of(origin.url, contact="ops@example.org") as pools,
        ):
            await fetch(pools["crates"])
            fields = origin.fields()
            assert (
                fields["user-agent"] == f"rust-edge-mirror/{mirror.__version__} (+ops@example.org)"
            )
            assert fields["cdn-loop"] == "rust-mirror-1234"
            assert fields["accept-encoding"] == "identity"
            assert set(fields) == {"host", "user-agent", "accept", "accept-encoding", "cdn-loop"}

    async def test_without_a_contact_the_name_stands_alone(self) -> None:
        async with origins([reply()]) as (origin,), pools_of(origin.url) as pools:
            await fetch(pools["crates"])
            assert origin.fields()["user-agent"] == f"rust-edge-mirror/{mirror.__version__}"

    async def test_the_callers_fields_win_in_any_case(self) -> None:
        async with origins([reply()]) as (origin,), pools_of(origin.url) as pools:
            fields = {"Accept-Encoding": "gzip", "If-None-Match": '"a"'}
            async with pools["index"].get("/se/rd/serde", fields=fields) as response:
                await content_of(response)
            assert origin.fields()["accept-encoding"] == "gzip"
            assert origin.fields()["if-none-match"] == '"a"'
            assert origin.heads[0].lower().count("accept-encoding") == 1

    async def test_the_path_is_sent_byte_for_byte_below_the_url(self) -> None:
        async with origins([reply()]) as (origin,), pools_of(origin.url + "/pre/") as pools:
            await fetch(pools["crates"], "/crates/A/A-1.0.0+b.crate")
            assert origin.requests == ["GET /pre/crates/A/A-1.0.0+b.crate HTTP/1.1"]

    async def test_connect_to_moves_the_connection_and_not_the_name(self) -> None:
        async with (
            origins([reply()]) as (origin,),
            pools_of("http://static.example", connect_to=f"127.0.0.1:{origin.port}") as pools,
        ):
            assert await fetch(pools["releases"]) == (200, b"content")
            assert origin.fields()["host"] == "static.example"

    async def test_a_connection_is_used_again(self) -> None:
        async with origins([reply()]) as (origin,), pools_of(origin.url) as pools:
            for _ in range(3):
                await fetch(pools["crates"])
            assert (origin.connections, len(origin.heads)) == (1, 3)

    async def test_leaving_early_closes_the_connection(self) -> None:
        async with (
            origins([reply(200, b"some", length=1000), reply()]) as (origin,),
            pools_of(origin.url) as pools,
        ):
            async with pools["crates"].get("/x") as response:
                assert response.received_bytes == 0
            assert await fetch(pools["crates"]) == (200, b"content")
            assert origin.connections == 2


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 206, 304, 403, 404, 410, 416, 451])
    async def test_a_status_about_the_object_goes_to_the_caller(self, status: int) -> None:
        content = b"" if status == 304 else b"content"
        async with origins([reply(status, content)]) as (origin,), pools_of(origin.url) as pools:
            assert await fetch(pools["crates"]) == (status, content)
            assert len(origin.heads) == 1

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
    async def test_a_temporary_status_is_asked_again(self, status: int) -> None:
        async with (
            origins([reply(status), reply(status), reply()]) as (origin,),
            pools_of(origin.url) as pools,
        ):
            assert await fetch(pools["crates"]) == (200, b"content")
            assert len(origin.heads) == 3

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    async def test_a_lasting_5xx_is_a_retryable_error_and_never_an_absence(
        self, status: int
    ) -> None:
        async with origins([reply(status)]) as (origin,), pools_of(origin.url) as pools:
            error = await failure_of(pools["crates"])
            assert (error.status, error.upstream_status, error.retryable) == (503, status, True)
            assert len(origin.heads) == 3

    @pytest.mark.parametrize("status", [201, 204, 400, 401, 405, 418, 501, 505])
    async def test_an_unusable_status_is_not_asked_again(self, status: int) -> None:
        async with origins([reply(status, b"")]) as (origin,), pools_of(origin.url) as pools:
            error = await failure_of(pools["crates"])
            assert (error.status, error.upstream_status, error.retryable) == (502, status, False)
            assert len(origin.heads) == 1

    async def test_fields_are_lower_case_and_joined(self) -> None:
        answer = reply(200, b"", 'ETag: "x"', "Vary: a", "VARY: b")
        async with (
            origins([answer]) as (origin,),
            pools_of(origin.url) as pools,
            pools["crates"].get("/x") as response,
        ):
            assert response.fields["etag"] == '"x"'
            assert response.fields["vary"] == "a, b"
            assert response.url == f"{origin.url}/x"
            assert repr(response) == f"<UpstreamResponse 200 {origin.url}/x 0 bytes>"

    async def test_content_codings_pass_untouched(self) -> None:
        answer = reply(200, b"\x1f\x8bnot really gzip", "Content-Encoding: gzip")
        async with origins([answer]) as (origin,), pools_of(origin.url) as pools:
            assert await fetch(pools["index"]) == (200, b"\x1f\x8bnot really gzip")


class TestRetryAfter:
    async def test_a_short_wait_is_kept(self) -> None:
        clock = FakeClock()
        answers = [
            reply(503, b"", "Retry-After: 0"),
            reply(429, b"", "Retry-After: nonsense"),
            reply(),
        ]
        async with origins(answers) as (origin,), pools_of(origin.url, clock=clock) as pools:
            assert await fetch(pools["crates"]) == (200, b"content")

    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_long_wait_ends_the_attempts_and_is_handed_on(self, status: int) -> None:
        answers = [reply(status, b"", "Retry-After: 30")]
        async with origins(answers) as (origin,), pools_of(origin.url) as pools:
            error = await failure_of(pools["crates"])
            assert error.retry_after_s == 30
            assert len(origin.heads) == 1

    async def test_an_upstream_that_asks_for_quiet_is_left_alone_until_then(self) -> None:
        clock = FakeClock()
        answers = [reply(429, b"", "Retry-After: 30"), reply()]
        async with origins(answers) as (origin,), pools_of(origin.url, clock=clock) as pools:
            await failure_of(pools["crates"])
            clock.at += 10
            error = await failure_of(pools["crates"])
            assert (error.retry_after_s, error.upstream_status) == (20, 429)
            assert len(origin.heads) == 1
            clock.at += 21
            assert await fetch(pools["crates"]) == (200, b"content")

    async def test_the_wait_for_one_object_does_not_close_the_upstream(self) -> None:
        answers = [reply(503, b"", "Retry-After: 30"), reply()]
        async with origins(answers) as (origin,), pools_of(origin.url) as pools:
            await failure_of(pools["crates"], "/a")
            assert await fetch(pools["crates"], "/b") == (200, b"content")


class TestConnection:
    async def test_a_refused_connection_is_tried_again_then_reported(self) -> None:
        async with origins([reply()]) as (origin,):
            url = origin.url
        meter, log = RecordingMeter(), RecordingLog()
        async with pools_of(url, meter=meter, log=log) as pools:
            error = await failure_of(pools["crates"])
        assert "cannot connect" in error.reason
        assert len(meter.begun) == 3
        assert [(name, fields["attempts"]) for name, fields in log.events] == [
            ("upstream-failed", 3)
        ]

    async def test_a_silent_upstream_is_asked_once_until_it_answers(self) -> None:
        async with origins([reply()]) as (origin,):
            url = origin.url
        clock, meter = FakeClock(), RecordingMeter()
        async with pools_of(url, clock=clock, meter=meter) as pools:
            await failure_of(pools["crates"])
            await failure_of(pools["crates"])
            assert len(meter.begun) == 3 + 1
            clock.at += 11
            await failure_of(pools["crates"])
            assert len(meter.begun) == 3 + 1 + 1

    async def test_silence_before_the_head_is_a_time_out(self) -> None:
        async with (
            origins([lambda writer: None]) as (origin,),
            pools_of(origin.url, attempts=1, read_timeout=0.05) as pools,
        ):
            error = await failure_of(pools["crates"])
            assert (error.reason, error.status, error.retryable) == ("no answer in time", 503, True)

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(cut(b""), id="reset"),
            pytest.param(cut(b"HTTP/1.1 200 OK\r\nContent-"), id="cut-head"),
            pytest.param(cut(b"SSH-2.0-OpenSSH\r\n"), id="no-http"),
            pytest.param(cut(reply(200, b"", "X: " + "y" * 20000)), id="huge-field"),
        ],
    )
    async def test_a_connection_that_brings_no_head_is_tried_again(self, answer: Answer) -> None:
        async with origins([answer, answer, reply()]) as (origin,), pools_of(origin.url) as pools:
            assert await fetch(pools["crates"]) == (200, b"content")

    async def test_a_name_that_does_not_resolve_is_an_upstream_error(self) -> None:
        async with pools_of("http://nowhere.invalid", attempts=1) as pools:
            error = await failure_of(pools["crates"])
            assert error.reason == "its name does not resolve"


class TestCrowd:
    """All connections of the pool are in use."""

    async def test_waiting_for_a_connection_has_a_deadline(self) -> None:
        log = RecordingLog()
        async with (
            origins([reply(200, b"some", length=1000), reply()]) as (origin,),
            pools_of(
                origin.url, max_connections=1, read_timeout=0.05, connect_timeout=0.05, log=log
            ) as pools,
            pools["crates"].get("/big"),
            asyncio.timeout(10),
        ):
            error = await failure_of(pools["crates"])
            assert error.reason == "all connections to it stay in use"
            assert (error.status, error.retryable, error.upstream_status) == (503, True, 0)
            assert [head.split()[1] for head in origin.heads] == ["/big"], "it was not asked"
            [health] = pools["crates"].health()
            assert (health.is_failing, health.last_error) == (False, ""), "we were busy, not it"
            assert log.events == []

    async def test_a_connection_that_becomes_free_in_time_is_used(self) -> None:
        async with (
            origins([reply()]) as (origin,),
            pools_of(origin.url, max_connections=1) as pools,
        ):
            fetched = await asyncio.gather(*(fetch(pools["crates"]) for _ in range(8)))
            assert fetched == [(200, b"content")] * 8

    async def test_the_next_url_is_asked_instead(self) -> None:
        async with (
            origins([reply(200, b"some", length=1000)], [reply(200, b"second")]) as (first, second),
            pools_of(
                first.url, second.url, max_connections=1, read_timeout=0.05, connect_timeout=0.05
            ) as pools,
            pools["releases"].get("/big"),
            asyncio.timeout(10),
        ):
            assert await fetch(pools["releases"]) == (200, b"second")


class TestHealth:
    async def test_words_of_the_last_failure_are_told_per_url(self) -> None:
        clock = FakeClock()
        async with (
            origins([reply(503)], [reply()]) as (first, second),
            pools_of(first.url, second.url, attempts=1, clock=clock) as pools,
        ):
            await fetch(pools["releases"])
            bad, good = pools["releases"].health()
            assert (bad.url, bad.is_failing, bad.rests_for_s) == (first.url, True, 5.0)
            assert (bad.last_error, bad.last_error_at) == ("status 503", clock.at)
            assert (good.url, good.is_failing, good.last_error) == (second.url, False, "")

    async def test_a_broken_body_is_a_failure_too(self) -> None:
        async with (
            origins([cut(reply(200, b"x" * 500, length=1000)), reply()]) as (origin,),
            pools_of(origin.url) as pools,
        ):
            await failure_of(pools["crates"])
            [health] = pools["crates"].health()
            assert health.is_failing
            assert health.last_error == "the content broke off after 500 bytes of content"
            await fetch(pools["crates"])
            assert not pools["crates"].health()[0].is_failing


async def test_pools_are_named_as_their_sections() -> None:
    async with pools_of("http://127.0.0.1:1") as pools:
        assert list(pools) == ["releases", "crates", "index"]
        assert len(pools) == 3
        assert repr(pools["index"]) == "<Pool index ['http://127.0.0.1:1']>"
