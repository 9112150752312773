"""A pool whose URLs fail: circuits, failover without flapping, and who is asked meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mirror.errors import ErrorType
from mirror.upstream.pool import Pool
from tests.unit.upstream.scripted_origin import (
    Answer,
    FakeClock,
    RecordingLog,
    RecordingTally,
    ScriptedOrigin,
    cut,
    origins,
    pools_of,
    reply,
)
from tests.unit.upstream.test_pool import failure_of, fetch

LIMITS = {"breaker_failures": 3, "hedge_percent": 0}
OK = [reply()]
DOWN = [reply(503)]


async def refused(pool: Pool, *paths: str) -> None:
    for path in paths:
        await failure_of(pool, path)


def names(log: RecordingLog) -> list[str]:
    return [name for name, _ in log.events if name != "upstream-failed"]


def asked(*servers: ScriptedOrigin) -> list[int]:
    return [len(server.heads) for server in servers]


async def test_an_open_circuit_costs_upstream_nothing_and_says_when_to_come_back() -> None:
    clock, log, tally = FakeClock(), RecordingLog(), RecordingTally()
    async with (
        origins(DOWN) as (origin,),
        pools_of(origin.url, attempts=1, clock=clock, log=log, tally=tally, limits=LIMITS) as pools,
    ):
        pool = pools["crates"]
        await refused(pool, "/a", "/b", "/c")
        assert asked(origin) == [3]
        errors = await asyncio.gather(*(failure_of(pool, f"/{n}") for n in range(50)))
        assert asked(origin) == [3], "50 misses, no request"
        assert {error.status for error in errors} == {503}
        assert all(2.5 <= error.retry_after_s <= 5.0 for error in errors)
        assert {error.error_type for error in errors} == {ErrorType.DESTINATION_UNAVAILABLE}
        assert names(log) == ["upstream-circuit-opened"], "one alarm, not one per miss"
        assert tally.counts == {"upstream_circuits_opened": 1}
        assert pool.health()[0].circuit == "open"


async def test_half_open_one_request_probes_while_the_others_are_told_at_once() -> None:
    clock, log = FakeClock(), RecordingLog()
    gate = asyncio.Event()
    waiting: list[asyncio.StreamWriter] = []

    def hold(writer: asyncio.StreamWriter) -> None:
        waiting.append(writer)
        gate.set()

    answers: Sequence[Answer] = [reply(503), reply(503), reply(503), hold, reply()]
    async with (
        origins(answers) as (origin,),
        pools_of(origin.url, attempts=1, clock=clock, log=log, limits=LIMITS) as pools,
    ):
        pool = pools["crates"]
        await refused(pool, "/a", "/b", "/c")
        clock.at += 5
        probe = asyncio.create_task(fetch(pool, "/probe"))
        await gate.wait()
        await asyncio.gather(*(failure_of(pool, f"/{n}") for n in range(20)))
        assert asked(origin) == [4]
        waiting[0].write(reply(200, b"back"))
        assert await probe == (200, b"back")
        assert await fetch(pool) == (200, b"content")
        assert names(log) == ["upstream-circuit-opened", "upstream-circuit-closed"]


async def test_probes_that_fail_come_ever_more_rarely_and_are_one_request_each() -> None:
    clock, log, tally = FakeClock(), RecordingLog(), RecordingTally()
    async with (
        origins(DOWN) as (origin,),
        pools_of(origin.url, attempts=3, clock=clock, log=log, tally=tally, limits=LIMITS) as pools,
    ):
        pool = pools["crates"]
        await refused(pool, "/a", "/b", "/c")
        before, rests = asked(origin)[0], []
        for probes in range(1, 8):
            rests.append(pool.health()[0].rests_for_s)
            clock.at += rests[-1] + 0.1
            await refused(pool, "/x", "/y")
            assert asked(origin)[0] == before + probes
        assert rests[0] <= 5 < rests[2]
        assert 30 <= rests[-1] <= 60
        assert names(log) == ["upstream-circuit-opened"]
        assert tally.counts == {"upstream_circuits_opened": 8}


async def test_a_probe_that_is_cancelled_lets_the_next_one_pass() -> None:
    clock = FakeClock()
    began = asyncio.Event()
    answers: Sequence[Answer] = [*DOWN * 3, lambda _: began.set(), reply()]
    async with (
        origins(answers) as (origin,),
        pools_of(origin.url, attempts=1, clock=clock, limits=LIMITS) as pools,
    ):
        pool = pools["crates"]
        await refused(pool, "/a", "/b", "/c")
        clock.at += 5
        probe = asyncio.create_task(fetch(pool, "/probe"))
        await began.wait()
        probe.cancel()
        await asyncio.wait([probe])
        assert await fetch(pool) == (200, b"content")


async def test_one_object_that_always_fails_leaves_the_others_alone() -> None:
    answers = [*DOWN * 30, reply()]
    async with origins(answers) as (origin,), pools_of(origin.url, limits=LIMITS) as pools:
        await refused(pools["crates"], *["/bad"] * 10)
        assert asked(origin) == [30]
        assert await fetch(pools["crates"], "/good") == (200, b"content")


async def test_a_circuit_that_others_opened_ends_the_attempts() -> None:
    """Many are asking when upstream goes: none asks again behind the last one that counted."""
    log = RecordingLog()
    async with origins(OK) as (origin,):
        url = origin.url
    async with pools_of(url, attempts=10, log=log, limits=LIMITS) as pools:
        await asyncio.gather(*(failure_of(pools["crates"], f"/{n}") for n in range(5)))
        attempts = sum(int(str(fields.get("attempts", 0))) for _, fields in log.events)
        assert attempts <= 5 + 2
        assert names(log) == ["upstream-circuit-opened"]


async def test_one_pool_in_trouble_costs_the_others_nothing() -> None:
    clock = FakeClock()
    async with (
        origins(DOWN, OK) as (bad, good),
        pools_of(bad.url, attempts=1, clock=clock, limits=LIMITS) as pools,
        pools_of(good.url, clock=clock, limits=LIMITS) as others,
    ):
        await refused(pools["crates"], "/a", "/b", "/c", "/d")
        assert pools["index"].health()[0].circuit == "closed", "each pool has its own circuits"
        assert await fetch(others["index"]) == (200, b"content")
        assert asked(bad, good) == [3, 1]


class TestFailover:
    async def test_an_open_circuit_is_passed_over_without_a_request(self) -> None:
        clock = FakeClock()
        async with (
            origins(DOWN, OK) as (first, second),
            pools_of(first.url, second.url, attempts=3, clock=clock, limits=LIMITS) as pools,
        ):
            for n in range(10):
                assert await fetch(pools["releases"], f"/{n}") == (200, b"content")
            assert asked(first, second) == [3, 10]

    async def test_after_its_rest_one_request_at_a_time_tries_the_first_url(self) -> None:
        clock = FakeClock()
        async with (
            origins([*DOWN * 1, *OK], OK) as (first, second),
            pools_of(first.url, second.url, attempts=1, clock=clock, limits=LIMITS) as pools,
        ):
            pool = pools["releases"]
            await fetch(pool)
            assert asked(first, second) == [1, 1]
            clock.at += 5
            await asyncio.gather(*(fetch(pool, f"/{n}") for n in range(12)))
            assert len(first.heads) + len(second.heads) == 2 + 12
            assert 2 <= len(first.heads) < 12, "it is tried, not trusted"
            assert not pool.health()[0].is_preferred

    async def test_it_is_trusted_again_when_it_held_for_so_long(self) -> None:
        clock = FakeClock()
        async with (
            origins([*DOWN * 1, *OK], OK) as (first, second),
            pools_of(first.url, second.url, attempts=1, clock=clock, limits=LIMITS) as pools,
        ):
            pool = pools["releases"]
            await fetch(pool)
            for _ in range(3):
                clock.at += 5
                await fetch(pool)
            assert pool.health()[0].is_preferred
            before = len(second.heads)
            await asyncio.gather(*(fetch(pool, f"/{n}") for n in range(12)))
            assert len(second.heads) == before

    async def test_a_flapping_url_costs_each_client_at_most_its_own_trial(self) -> None:
        """It answers one request of two: it never becomes preferred, and nobody fails."""
        clock = FakeClock()
        flapping = [*DOWN, *(reply(503) if n % 2 else reply() for n in range(99))]
        async with (
            origins(flapping, OK) as (first, second),
            pools_of(first.url, second.url, attempts=1, clock=clock, limits=LIMITS) as pools,
        ):
            pool = pools["releases"]
            for n in range(60):
                assert (await fetch(pool, f"/{n}"))[0] == 200
                assert not pool.health()[0].is_preferred
                clock.at += 1
            assert len(first.heads) <= 20
            assert len(second.heads) >= 45

    async def test_a_broken_body_sends_its_resume_elsewhere(self) -> None:
        clock = FakeClock()
        broken = [cut(reply(200, b"x" * 500, length=1000)), *OK]
        async with (
            origins(broken, OK) as (first, second),
            pools_of(first.url, second.url, clock=clock, limits=LIMITS) as pools,
        ):
            await failure_of(pools["releases"])
            await fetch(pools["releases"])
            assert asked(first, second) == [1, 1]


@pytest.mark.parametrize("status", [429, 503])
async def test_upstreams_wish_lengthens_the_rest(status: int) -> None:
    clock = FakeClock()
    answers = [reply(status, b"", "Retry-After: 4")] * 3
    async with (
        origins([*answers, *OK]) as (origin,),
        pools_of(
            origin.url, attempts=1, clock=clock, limits={**LIMITS, "breaker_failures": 3}
        ) as pools,
    ):
        await refused(pools["crates"], "/a", "/b", "/c")
        assert pools["crates"].health()[0].rests_for_s >= 4.0
