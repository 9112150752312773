"""`mirror.upstream.sending`: hedges and budgets, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from mirror.config import ByteSizeOrZero, DurationOrZero
from mirror.errors import ErrorType, UpstreamError
from mirror.upstream.traffic import LEFT
from tests.unit.upstream.scripted_origin import (
    Answer,
    FakeClock,
    RecordingMeter,
    RecordingTally,
    ScriptedOrigin,
    cut,
    origins,
    pools_of,
    reply,
)
from tests.unit.upstream.test_pool import content_of, failure_of, fetch

SOON = {"hedge_after": DurationOrZero(0.02)}


def silent(_: asyncio.StreamWriter) -> None:
    """No answer ever comes."""


def asked(*servers: ScriptedOrigin) -> list[int]:
    return [len(server.heads) for server in servers]


class TestHedge:
    async def test_a_slow_head_is_answered_by_the_next_url(self) -> None:
        tally, meter = RecordingTally(), RecordingMeter()
        async with (
            origins([silent], [reply(200, b"second")]) as (first, second),
            pools_of(first.url, second.url, tally=tally, meter=meter, limits=SOON) as pools,
        ):
            assert await fetch(pools["releases"]) == (200, b"second")
            assert asked(first, second) == [1, 1]
        assert tally.counts == {"upstream_hedges": 1, "upstream_hedges_won": 1}
        assert [each.attempt for each in meter.begun] == [1, 1], "neither repeats a failure"
        left, won = meter.begun
        assert (left.end, left.received_bytes) == ((False, LEFT), 0)
        assert won.end == (True, "")

    async def test_without_another_url_the_same_one_is_asked_anew(self) -> None:
        tally = RecordingTally()
        async with (
            origins([silent, reply()]) as (origin,),
            pools_of(origin.url, tally=tally, limits=SOON) as pools,
        ):
            assert await fetch(pools["crates"]) == (200, b"content")
            assert (asked(origin), origin.connections) == ([2], 2)
            [health] = pools["crates"].health()
            assert not health.is_failing, "who was left said nothing"

    async def test_the_connection_of_the_loser_is_closed(self) -> None:
        closed = asyncio.Event()

        def wait_for_close(writer: asyncio.StreamWriter) -> None:
            async def watch() -> None:
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
                closed.set()

            watching.append(asyncio.create_task(watch()))

        watching: list[asyncio.Task[None]] = []
        async with (
            origins([wait_for_close], [reply()]) as (first, second),
            pools_of(first.url, second.url, limits=SOON) as pools,
        ):
            await fetch(pools["releases"])
            async with asyncio.timeout(10):
                await closed.wait()

    async def test_a_body_that_flows_is_never_asked_for_twice(self) -> None:
        began = asyncio.Event()

        def slowly(writer: asyncio.StreamWriter) -> None:
            async def send() -> None:
                await began.wait()
                await asyncio.sleep(0.1)  # five times what brings a hedge
                writer.write(b"rest")

            writer.write(reply(200, b"begin", length=9))
            sending.append(asyncio.create_task(send()))

        sending: list[asyncio.Task[None]] = []
        tally = RecordingTally()
        async with (
            origins([slowly]) as (origin,),
            pools_of(origin.url, tally=tally, limits=SOON) as pools,
            pools["crates"].get("/x") as response,
        ):
            began.set()
            assert await content_of(response) == b"beginrest"
        assert (asked(origin), tally.counts) == ([1], {})

    async def test_the_share_of_hedges_is_kept_however_slow_upstream_is(self) -> None:
        """The one at the start, and one for twenty requests."""
        tally = RecordingTally()

        def slow(writer: asyncio.StreamWriter) -> None:
            asyncio.get_running_loop().call_later(0.05, writer.write, reply())

        requests = 60
        async with (
            origins([slow]) as (origin,),
            pools_of(origin.url, tally=tally, limits=SOON) as pools,
            asyncio.timeout(30),
        ):
            for n in range(0, requests, 20):
                await asyncio.gather(*(fetch(pools["crates"], f"/{n + m}") for m in range(20)))
        assert 1 <= tally.counts["upstream_hedges"] <= 1 + requests * 5 // 100
        assert asked(origin) == [requests + tally.counts["upstream_hedges"]]

    async def test_a_url_in_trouble_gets_no_hedge(self) -> None:
        clock = FakeClock()
        limits = {**SOON, "breaker_failures": 1}
        async with (
            origins([reply(200, b"a"), silent, reply(200, b"b")], [reply(503)]) as (first, second),
            pools_of(first.url, second.url, attempts=1, clock=clock, limits=limits) as pools,
        ):
            pool = pools["releases"]
            pool._members[1].origin.demote(clock.monotonic())
            assert await fetch(pool) == (200, b"a")
            assert await fetch(pool) == (200, b"b")
            assert asked(first, second) == [3, 0]

    async def test_a_hedge_that_fails_leaves_the_first_its_time(self) -> None:
        def later(writer: asyncio.StreamWriter) -> None:
            asyncio.get_running_loop().call_later(0.1, writer.write, reply(200, b"first"))

        async with (
            origins([later], [cut(b"")]) as (first, second),
            pools_of(first.url, second.url, limits=SOON) as pools,
        ):
            assert await fetch(pools["releases"]) == (200, b"first")
            assert asked(first, second) == [1, 1]

    async def test_a_hedge_answers_for_a_first_that_fails_meanwhile(self) -> None:
        def reset(writer: asyncio.StreamWriter) -> None:
            asyncio.get_running_loop().call_later(0.05, writer.transport.abort)

        def later(writer: asyncio.StreamWriter) -> None:
            asyncio.get_running_loop().call_later(0.15, writer.write, reply(200, b"second"))

        async with (
            origins([reset], [later]) as (first, second),
            pools_of(first.url, second.url, limits=SOON) as pools,
        ):
            assert await fetch(pools["releases"]) == (200, b"second")
            assert asked(first, second) == [1, 1], "no attempt is made behind a hedge's back"

    async def test_zero_turns_hedges_off(self) -> None:
        for limits in ({"hedge_after": DurationOrZero(0)}, {**SOON, "hedge_percent": 0}):
            tally = RecordingTally()
            async with (
                origins([silent]) as (origin,),
                pools_of(
                    origin.url, attempts=1, read_timeout=0.1, tally=tally, limits=limits
                ) as pools,
            ):
                await failure_of(pools["crates"])
                assert (asked(origin), tally.counts) == ([1], {})

    async def test_cancelling_the_caller_leaves_both_requests(self) -> None:
        meter = RecordingMeter()
        async with (
            origins([silent], [silent]) as (first, second),
            pools_of(first.url, second.url, meter=meter, limits=SOON) as pools,
        ):
            asking = asyncio.create_task(fetch(pools["releases"]))
            while not second.heads:
                await asyncio.sleep(0.001)
            asking.cancel()
            await asyncio.wait([asking])
            assert asking.cancelled()
            for _ in range(3):
                await asyncio.sleep(0)
            assert [each.end for each in meter.begun] == [(False, LEFT)] * 2
            assert all(health.circuit == "closed" for health in pools["releases"].health())


@contextlib.asynccontextmanager
async def lavish(*answers: Answer) -> AsyncIterator[ScriptedOrigin]:
    async with origins(answers or [reply()]) as (origin,):
        yield origin


class TestRequests:
    async def test_a_request_beyond_the_burst_waits_its_turn(self) -> None:
        tally = RecordingTally()
        limits = {"max_requests": 50}
        async with (
            lavish() as origin,
            pools_of(origin.url, tally=tally, limits=limits) as pools,
        ):
            pool = pools["crates"]
            pool._settings.sending.requests.take(500, time.monotonic())  # the burst of 10 s
            began = time.monotonic()
            await asyncio.gather(*(fetch(pool) for _ in range(5)))
            assert time.monotonic() - began >= 5 / 50 * 0.9, "not sooner than the budget says"
            assert (asked(origin), tally.counts) == ([5], {"upstream_waits": 5})

    async def test_a_wait_that_is_too_long_is_refused_at_once(self) -> None:
        tally, clock = RecordingTally(), FakeClock()
        async with (
            lavish() as origin,
            pools_of(
                origin.url,
                clock=clock,
                tally=tally,
                queue_wait_s=3.0,
                limits={"max_requests": 2},
            ) as pools,
        ):
            pool = pools["crates"]
            for _ in range(20):
                await fetch(pool)
            pool._settings.sending.requests.take(6, clock.monotonic())
            error = await failure_of(pool)
            assert (error.status, error.retry_after_s) == (503, 3.5)
            assert error.error_type is ErrorType.CONNECTION_LIMIT_REACHED
            [health] = pool.health()
            assert (health.is_failing, health.circuit) == (False, "closed"), "it is our own limit"
            assert asked(origin) == [20]
            assert tally.counts == {"upstream_waits_refused": 1}
            clock.at += 3.6
            assert await fetch(pool) == (200, b"content")

    async def test_a_turn_that_nobody_waits_for_any_more_is_given_back(self) -> None:
        clock = FakeClock()
        async with (
            lavish() as origin,
            pools_of(origin.url, clock=clock, limits={"max_requests": 1}) as pools,
        ):
            budget = pools["crates"]._settings.sending.requests
            budget.take(14, clock.monotonic())  # the burst of 10 s, and more
            before_s = budget.wait_s(1, clock.monotonic())
            asking = [asyncio.create_task(fetch(pools["crates"])) for _ in range(3)]
            await asyncio.sleep(0)
            assert budget.wait_s(1, clock.monotonic()) == before_s + 3
            for each in asking:
                each.cancel()
            await asyncio.wait(asking)
            assert budget.wait_s(1, clock.monotonic()) == before_s
            assert asked(origin) == [0]

    async def test_a_redirect_is_a_request_too(self) -> None:
        clock = FakeClock()
        answers = [reply(302, b"", "Location: /y"), reply()]
        async with (
            origins(answers) as (origin,),
            pools_of(
                origin.url, clock=clock, queue_wait_s=0.4, limits={"max_requests": 1}
            ) as pools,
        ):
            pool = pools["crates"]
            for _ in range(9):
                await fetch(pool)
            assert asked(origin) == [10]
            assert isinstance(await failure_of(pool), UpstreamError), "ten in ten seconds"

    async def test_each_pool_has_its_own_budget(self) -> None:
        clock = FakeClock()
        async with (
            lavish() as origin,
            pools_of(
                origin.url, clock=clock, queue_wait_s=0.4, limits={"max_requests": 1}
            ) as pools,
        ):
            for _ in range(10):
                await fetch(pools["crates"])
            await failure_of(pools["crates"])
            assert await fetch(pools["index"]) == (200, b"content")


class TestContent:
    async def test_reading_is_paced_and_a_slow_pace_is_no_silence(self) -> None:
        """A silence of `read_timeout` ends a body; reading slower than that does not."""
        rate, content = 2_000_000, bytes(range(256)) * 4096
        async with (
            lavish(reply(200, content)) as origin,
            pools_of(
                origin.url, read_timeout=0.2, limits={"max_rate": ByteSizeOrZero(rate)}
            ) as pools,
        ):
            pool = pools["releases"]
            pool._settings.sending.content.take(rate, time.monotonic())  # the burst of 1 s
            began = time.monotonic()
            assert await fetch(pool) == (200, content)
            assert time.monotonic() - began >= len(content) / rate * 0.9

    async def test_all_bodies_of_a_pool_share_its_rate(self) -> None:
        rate, content = 2_000_000, b"x" * 262144
        async with (
            lavish(reply(200, content)) as origin,
            pools_of(origin.url, limits={"max_rate": ByteSizeOrZero(rate)}) as pools,
        ):
            pool = pools["releases"]
            pool._settings.sending.content.take(rate, time.monotonic())
            began = time.monotonic()
            bodies = await asyncio.gather(*(fetch(pool) for _ in range(4)))
            assert {body for _, body in bodies} == {content}
            assert time.monotonic() - began >= 4 * len(content) / rate * 0.9

    async def test_a_small_object_does_not_wait_behind_bodies(self) -> None:
        rate = 100_000
        async with (
            lavish(reply(200, b"y" * 300_000), reply(200, b"small")) as origin,
            pools_of(origin.url, limits={"max_rate": ByteSizeOrZero(rate)}) as pools,
        ):
            big = asyncio.create_task(fetch(pools["releases"]))
            while not origin.heads:
                await asyncio.sleep(0.001)
            async with asyncio.timeout(10):
                assert await fetch(pools["releases"]) == (200, b"small")
            assert not big.done(), "two seconds of debt are before it"
            big.cancel()
            await asyncio.wait([big])
