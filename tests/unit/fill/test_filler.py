"""What holds for every ask, whatever its kind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.messages import Ask, Failed, Purpose, StoredAnswer
from mirror.fill.ports import UpstreamPool
from mirror.fill.replies import FILLED, Inline
from mirror.store.budget import footprint
from tests.unit.fill.keeper_world import World, index_lines, inline, noise, sha256
from tests.unit.fill.scripted_pool import Step

HEAD = "releases:/rustup/release-stable.toml"
TOML = b"schema-version = '1'\nversion = '1.29.0'\n"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "releases:/etc/passwd",
        "releases:/dist/../../etc/passwd",
        "store:/dist/x.tar.gz",
        "crates:/crates/a/b-1.0.0.crate",
        "index:/SE/rd/serde",
    ],
)
async def test_a_key_that_the_grammar_does_not_know_is_404(tmp_path: Path, key: str) -> None:
    async with World(tmp_path) as world:
        assert await world.ask(key) == Failed(status=404, reason="no such object")
        assert not any(pool.requests for pool in world.pools.values())


async def test_followers_share_the_answer_and_are_told_so(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/rustup/release-stable.toml", TOML)
        replies = await asyncio.gather(*(world.ask(HEAD) for _ in range(20)))
        outcomes = [inline(reply).outcome for reply in replies]
        assert outcomes[0] == FILLED
        assert set(outcomes[1:]) == {f"{FILLED}; collapsed"}
        assert len(world.releases.requests) == 1


async def test_an_ask_between_answer_and_durability_starts_no_second_flight(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/rustup/release-stable.toml", TOML)
        first = await world.ask(HEAD)
        second = await world.ask(HEAD)
        assert inline(first).content == inline(second).content == TOML
        await world.settled()
        assert len(world.releases.requests) == 1


@pytest.mark.parametrize("is_absent", [False, True])
async def test_who_comes_while_only_the_commit_is_missing_hits(
    tmp_path: Path, is_absent: bool
) -> None:
    async with World(tmp_path) as world:
        if not is_absent:
            world.releases.put("/rustup/release-stable.toml", TOML)
            world.files.may_sync.clear()
        try:
            await world.ask(HEAD)
            assert len(world.filler.flights) == 1
            late = await world.ask(HEAD)
        finally:
            world.files.may_sync.set()
        assert isinstance(late, StoredAnswer if is_absent else Inline)
        assert late.outcome == "hit; detail=memory"
        await world.settled()


async def test_fills_at_once_are_bounded_and_the_rest_waits(tmp_path: Path) -> None:
    async with World(tmp_path, max_fills=2) as world:
        gate = asyncio.Event()
        keys = [f"index:/ab/cd/abcd{n}" for n in range(6)]
        for n in range(6):
            name = f"abcd{n}"
            resource = world.index.put(f"/ab/cd/{name}", index_lines(name, {"1.0.0": b""}))
            resource.steps = [Step(gate=gate)]
        asks = [asyncio.create_task(world.ask(key)) for key in keys]
        async with asyncio.timeout(10):
            while world.filler.waiting < 4:
                await asyncio.sleep(0.001)
        assert world.index.open == 2
        gate.set()
        assert all(inline(reply) for reply in await asyncio.gather(*asks))


async def test_the_queue_before_the_fills_is_bounded(tmp_path: Path) -> None:
    async with World(tmp_path, max_fills=1) as world:
        gate = asyncio.Event()
        replies = []
        for n in range(70):
            name = f"abcd{n}"
            resource = world.index.put(f"/ab/cd/{name}", index_lines(name, {"1.0.0": b""}))
            resource.steps = [Step(gate=gate)]
            replies.append(asyncio.create_task(world.ask(f"index:/ab/cd/{name}")))
        async with asyncio.timeout(10):
            while not any(reply.done() for reply in replies):
                await asyncio.sleep(0.001)
        refused = [reply.result() for reply in replies if reply.done()]
        assert len(refused) == 70 - 65
        assert all(isinstance(r, Failed) and r.status == 503 and r.retry_after_s for r in refused)
        gate.set()
        await asyncio.gather(*replies)


async def test_a_crate_never_waits_for_itself_in_the_queue(tmp_path: Path) -> None:
    """With one slot, a crate's flight must not hold it while its index file is fetched."""
    async with World(tmp_path, max_fills=1) as world:
        world.index.put("/ab/cd/abcd", index_lines("abcd", {"1.0.0": b"x"}))
        world.crates.put("/crates/abcd/abcd-1.0.0.crate", b"x")
        async with asyncio.timeout(10):
            reply = await world.ask("crates:/crates/abcd/abcd-1.0.0.crate")
        assert inline(reply).content == b"x"


async def test_nobody_waits_long_for_upstream_while_there_is_a_copy(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.stale_patience_s = 0.02
        await world.restart()
        resource = world.releases.put("/rustup/release-stable.toml", TOML)
        await world.ask(HEAD)
        await world.settled()
        world.clock.move(61)
        gate = asyncio.Event()
        resource.steps = [Step(gate=gate)]
        reply = await world.ask(HEAD, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        gate.set()
        await world.settled()
        fresh = await world.ask(HEAD, Purpose.REVALIDATE)
        assert isinstance(fresh, StoredAnswer)
        assert not fresh.is_stale


class BrokenPool:
    def get(self, path: str, *, fields: object) -> object:
        raise RuntimeError("a defect")


async def test_a_defect_in_a_fill_is_an_event_and_a_503(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        broken: UpstreamPool = BrokenPool()  # type: ignore[assignment] # it never gets so far
        for name in world.pools:
            world.pools[name] = broken  # type: ignore[assignment] # as above
        reply = await world.ask(HEAD)
        assert isinstance(reply, Failed)
        assert reply.status == 503
        assert world.log.named("fill-crashed")
        world.pools.clear()


async def test_recency_goes_to_the_store(tmp_path: Path) -> None:
    async with World(tmp_path, budget=3 * footprint(9000) + footprint(4096)) as world:
        bodies = {f"1.0.{n}": noise(9000, seed=n) for n in range(4)}
        world.index.put("/ab/cd/abcd", index_lines("abcd", bodies))
        keys = []
        for version, body in bodies.items():
            path = f"/crates/abcd/abcd-{version}.crate"
            world.crates.put(path, body)
            keys.append(f"crates:{path}")
        for key in keys[:3]:
            world.clock.move(2)
            await world.ask(key)
            await world.settled()
        world.clock.move(2)
        world.filler.used([keys[0]])
        await world.ask(keys[3])
        await world.settled()
        assert world.stored(keys[0]) is not None
        assert world.stored(keys[1]) is None


async def test_asks_with_a_claim_on_other_kinds_are_answered(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/rustup/release-stable.toml", TOML)
        ask = Ask(purpose=Purpose.FETCH, key=HEAD, claim=sha256(TOML))
        assert inline(await world.filler.ask(ask)).content == TOML
        world.clock.move(61)
        wrong = Ask(purpose=Purpose.FETCH, key=HEAD, claim=sha256(b""))
        reply = await world.filler.ask(wrong)
        assert isinstance(reply, Failed)
        assert reply.status == 404


async def test_a_silent_upstream_holds_up_no_other(tmp_path: Path) -> None:
    async with World(tmp_path, max_fills=1) as world:
        gate = asyncio.Event()
        asks = []
        for n in range(10):
            path = f"/rustup/archive/1.29.{n}/x86_64-unknown-linux-gnu/rustup-init.sha256"
            world.releases.put(path, b"").steps = [Step(gate=gate)]
            asks.append(asyncio.create_task(world.ask(f"releases:{path}")))
        world.index.put("/ab/cd/abcd", index_lines("abcd", {"1.0.0": b"x"}))
        async with asyncio.timeout(5):
            while world.filler.waiting < 9:
                await asyncio.sleep(0.001)
            assert inline(await world.ask("index:/ab/cd/abcd")).entry.status == 200
        assert world.releases.open == 1
        gate.set()
        await asyncio.gather(*asks)


async def test_what_is_stored_but_not_attested_is_hashed_before_upstream_is_asked(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/rustup/release-stable.toml", TOML)
        await world.ask(HEAD)
        await world.settled()
        Path(world.store.blob_path(sha256(TOML))).chmod(0o600)  # moves its ctime
        world.releases.outage = "status 503"
        reply = await world.ask(HEAD)
        assert isinstance(reply, StoredAnswer)
        assert (reply.outcome, reply.is_stale) == ("hit", False)
        assert len(world.releases.requests) == 1
        world.clock.move(61)
        Path(world.store.blob_path(sha256(TOML))).chmod(0o644)
        stale = await world.ask(HEAD, Purpose.REVALIDATE)
        assert isinstance(stale, StoredAnswer)
        assert stale.is_stale


async def test_what_is_stored_but_rotten_is_fetched(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/rustup/release-stable.toml", TOML)
        await world.ask(HEAD)
        await world.settled()
        blob = Path(world.store.blob_path(sha256(TOML)))
        blob.chmod(0o600)
        blob.write_bytes(TOML[:-1] + b"!")
        assert inline(await world.ask(HEAD)).content == TOML
        assert len(world.quarantined()) == 1


@pytest.mark.parametrize("is_true", [True, False])
async def test_a_claim_is_compared_with_the_stored_crate_while_upstream_is_away(
    tmp_path: Path, is_true: bool
) -> None:
    async with World(tmp_path) as world:
        body, key = noise(5000), "crates:/crates/abcd/abcd-1.0.0.crate"
        world.index.put("/ab/cd/abcd", index_lines("abcd", {"1.0.0": body}))
        world.crates.put(key.partition(":")[2], body)
        await world.ask(key)
        await world.settled()
        world.store.withdraw(["index:/ab/cd/abcd"])
        world.index.outage = "status 503"
        reply = await world.ask(key, claim=sha256(body if is_true else b"other"))
        if is_true:
            assert isinstance(reply, StoredAnswer)
            assert reply.outcome == "hit"
        else:
            assert isinstance(reply, Failed)
