"""Bodies that the disk cannot take, disks that fail, and callers that go away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.errors import MirrorError, VerificationError
from mirror.fill.messages import Failed, FlightState, StoredAnswer
from mirror.fill.replies import Growing, Inline, PassThrough
from mirror.store.budget import footprint
from tests.unit.fill.keeper_world import (
    World,
    ended,
    index_lines,
    inline,
    noise,
    sha256,
    sha256_file,
)
from tests.unit.fill.scripted_pool import Resource, Step

KEY = "releases:/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
PATH = KEY.partition(":")[2]
BIG = noise(2_000_000)
TOML = b"schema-version = '1'\nversion = '1.29.0'\n"


def publish(world: World, content: bytes = BIG) -> Resource:
    world.vouch(PATH, sha256(content))
    return world.releases.put(PATH, content)


async def read_into(pieces: list[bytes], reply: PassThrough) -> None:
    while piece := await reply.source.read():
        pieces.append(piece)


async def read_all(reply: PassThrough) -> bytes:
    pieces: list[bytes] = []
    await read_into(pieces, reply)
    return b"".join(pieces)


def pass_through(reply: object) -> PassThrough:
    assert isinstance(reply, PassThrough), reply
    return reply


async def test_a_body_without_room_passes_through_whole_and_uncached(tmp_path: Path) -> None:
    async with World(tmp_path, budget=1_000_000) as world:
        publish(world)
        reply = pass_through(await world.ask(KEY))
        assert reply.length == len(BIG)
        assert await read_all(reply) == BIG
        await world.settled()
        assert world.stored(KEY) is None
        assert world.store.used_bytes <= footprint(1000)  # the `.sha256` at most
        assert world.log.named("pass-through")


async def test_a_body_over_max_object_passes_through_whole_and_uncached(tmp_path: Path) -> None:
    async with World(tmp_path, max_object=1_000_000) as world:
        publish(world)
        assert await read_all(pass_through(await world.ask(KEY))) == BIG
        await world.settled()
        assert world.stored(KEY) is None
        [event] = world.log.named("pass-through")
        assert "max_object" in str(event["reason"])


async def test_a_passing_body_of_unknown_length_is_whole(tmp_path: Path) -> None:
    async with World(tmp_path, budget=1_000_000) as world:
        publish(world).has_length = False
        reply = pass_through(await world.ask(KEY))
        assert reply.length == -1
        assert await read_all(reply) == BIG


async def test_a_passing_body_is_resumed_where_it_broke(tmp_path: Path) -> None:
    async with World(tmp_path, budget=1_000_000) as world:
        publish(world).steps = [Step(cut_at=900_000)]
        assert await read_all(pass_through(await world.ask(KEY))) == BIG
        assert len(world.releases.played) == 1
        assert world.releases.sent(PATH) == len(BIG)


async def test_a_wrong_passing_body_ends_without_its_last_bytes(tmp_path: Path) -> None:
    async with World(tmp_path, budget=1_000_000) as world:
        publish(world).steps = [Step(content=BIG[:-1] + b"!")]
        reply = pass_through(await world.ask(KEY))
        received: list[bytes] = []
        with pytest.raises(VerificationError):
            await read_into(received, reply)
        assert b"".join(received) == BIG[:-65536]
        await world.settled()
        assert len(world.releases.played) == 1
        assert world.log.named("digest-mismatch")


async def test_a_reader_that_leaves_ends_the_transfer(tmp_path: Path) -> None:
    async with World(tmp_path, budget=1_000_000) as world:
        publish(world)
        reply = pass_through(await world.ask(KEY))
        await reply.source.read()
        reply.source.close()
        await world.settled()
        assert world.releases.sent(PATH) < len(BIG)
        assert world.releases.open == 0


async def test_a_slow_reader_slows_upstream(tmp_path: Path) -> None:
    async with World(tmp_path, budget=1_000_000) as world:
        publish(world)
        reply = pass_through(await world.ask(KEY))
        for _ in range(200):
            await asyncio.sleep(0)
        assert world.releases.sent(PATH) <= 65536 + 262144 + 2 * 65536
        assert await read_all(reply) == BIG


async def test_several_askers_of_a_passing_body_each_get_it_whole(tmp_path: Path) -> None:
    async with World(tmp_path, budget=1_000_000) as world:
        publish(world)

        async def fetch() -> bytes:
            return await read_all(pass_through(await world.ask(KEY)))

        assert list(await asyncio.gather(fetch(), fetch(), fetch())) == [BIG, BIG, BIG]


async def test_a_small_body_is_served_though_it_cannot_be_stored(tmp_path: Path) -> None:
    async with World(tmp_path, budget=100) as world:
        publish(world, BIG[:5000])
        assert inline(await world.ask(KEY)).content == BIG[:5000]
        await world.settled()
        assert world.stored(KEY) is None
        assert inline(await world.ask(KEY)).content == BIG[:5000]


async def test_a_fill_goes_on_when_every_ask_was_cancelled(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        publish(world).steps = [Step(gate=gate)]
        asks = [asyncio.create_task(world.ask(KEY)) for _ in range(3)]
        await asyncio.sleep(0.01)
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)
        assert len(world.filler.flights) == 1
        gate.set()
        await world.settled()
        assert world.stored_content(KEY) == BIG


async def test_stopping_during_a_body_keeps_the_partial_and_leaks_nothing(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        publish(world).steps = [Step(body_gate=gate, gate_at=1_000_000)]
        reply = await world.ask(KEY)
        assert isinstance(reply, Growing)
        await landed(reply, 1_000_000)
        await world.filler.aclose()
        assert reply.file.state is FlightState.FAILED
        assert world.releases.open == 0
        assert world.partials() != []
        assert world.store.used_bytes == footprint(1_000_000)  # the kept partial; no reservation
        world.start()


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_stopping_at_any_moment_leaks_nothing(tmp_path: Path, turns: int) -> None:
    async with World(tmp_path) as world:
        world.releases.put(PATH + ".sha256", sha256_file(BIG))
        world.releases.put(PATH, BIG)
        ask = asyncio.create_task(world.ask(KEY))
        for _ in range(turns):
            await asyncio.sleep(0)
        await world.filler.aclose()
        reply = await ask
        assert isinstance(reply, Failed | Growing)
        assert world.releases.open == 0
        partial_bytes = sum(
            footprint(path.stat().st_size)
            for path in (tmp_path / "store" / "partial").iterdir()
            if not path.suffix
        )
        blob_bytes = world.store.used_bytes - partial_bytes
        proof_bytes = footprint(len(sha256_file(BIG)))
        assert blob_bytes in (0, proof_bytes, footprint(len(BIG)) + proof_bytes)
        world.start()
        await world.settled()
        final = await world.ask(KEY)
        if isinstance(final, Growing):
            await ended(final)
        assert world.stored_content(KEY) == BIG


async def test_a_disk_that_fails_in_the_middle_ends_the_flight_with_503(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        publish(world).steps = [Step(body_gate=gate, gate_at=1_000_000)]
        reply = await world.ask(KEY)
        assert isinstance(reply, Growing)
        await landed(reply, 1_000_000)
        world.files.is_full = True
        gate.set()
        await ended(reply)
        assert world.files.refused
        assert reply.file.failure is not None
        assert reply.file.failure.status == 503
        await world.settled()
        assert world.partials() == []
        assert world.store.used_bytes == 0


@pytest.mark.parametrize("size", [5000, 2_000_000])
async def test_a_full_disk_never_stops_a_body_that_has_not_begun(tmp_path: Path, size: int) -> None:
    async with World(tmp_path) as world:
        publish(world, BIG[:size])
        world.files.is_full = True
        reply = await world.ask(KEY)
        got = reply.content if isinstance(reply, Inline) else await read_all(pass_through(reply))
        assert got == BIG[:size]
        await world.settled()
        assert world.files.refused
        world.files.is_full = False
        await world.storing()
        reply = await world.ask(KEY)
        if isinstance(reply, Growing):
            await ended(reply)
        await world.settled()
        assert world.stored_content(KEY) == BIG[:size]


@pytest.mark.parametrize("size", [5000, 2_000_000])
async def test_a_mismatch_is_an_event_also_when_the_disk_is_full(tmp_path: Path, size: int) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        wrong = BIG[: size - 1] + b"!"
        resource = publish(world, BIG[:size])
        resource.steps = [Step(content=wrong, body_gate=gate, gate_at=size)]
        world.files.is_full = size == 5000
        reply = await world.ask(KEY)
        if isinstance(reply, Growing):
            await landed(reply, size)
            world.files.is_full = True
            gate.set()
            await ended(reply)
        await world.settled()
        assert world.log.named("digest-mismatch")
        assert world.stored(KEY) is None
        assert world.store.used_bytes == 0


async def test_stopping_while_wrong_bytes_are_put_aside_leaks_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world, BIG[:5000]).steps = [Step(content=BIG[:4999] + b"!")]
        world.files.may_write.clear()
        before = world.files.writes
        ask = asyncio.create_task(world.ask(KEY))
        async with asyncio.timeout(10):
            while world.files.writes == before:
                await asyncio.sleep(0.001)
        stopping = asyncio.create_task(world.filler.aclose())
        await asyncio.sleep(0.01)
        world.files.may_write.set()
        await stopping
        await ask
        assert world.partials() == []
        assert " 0 reserved" in repr(world.store)
        world.start()


async def landed(reply: Growing, nbytes: int) -> None:
    async with asyncio.timeout(10):
        while reply.file.landed < nbytes:
            await asyncio.sleep(0.001)


async def test_errors_of_a_passing_body_are_this_products(tmp_path: Path) -> None:
    async with World(tmp_path, budget=1_000_000) as world:
        publish(world).steps = [Step(cut_at=900_000)] + [Step(error="reset")] * 2
        reply = pass_through(await world.ask(KEY))
        with pytest.raises(MirrorError):
            await read_all(reply)
        assert len(world.releases.played) == 3


async def test_a_fill_that_waits_for_the_disk_keeps_no_place_and_no_connection(
    tmp_path: Path,
) -> None:
    async with World(tmp_path, max_fills=1) as world:
        bodies = {f"1.0.{n}": noise(5000, seed=n) for n in range(4)}
        world.index.put("/ab/cd/abcd", index_lines("abcd", bodies))
        await world.ask("index:/ab/cd/abcd")
        await world.settled()
        world.files.may_sync.clear()
        try:
            for version, body in bodies.items():
                path = f"/crates/abcd/abcd-{version}.crate"
                world.crates.put(path, body)
                async with asyncio.timeout(5):
                    assert inline(await world.ask(f"crates:{path}")).content == body
            async with asyncio.timeout(5):
                while not world.files.waiting_syncs or world.crates.open:
                    await asyncio.sleep(0.001)
            assert len(world.filler.flights) == 4
        finally:
            world.files.may_sync.set()
        await world.settled()
        assert world.stored("crates:/crates/abcd/abcd-1.0.3.crate") is not None


async def test_a_large_body_that_is_being_published_keeps_no_place(tmp_path: Path) -> None:
    async with World(tmp_path, max_fills=1) as world:
        publish(world)
        other = KEY.replace("rustc-", "cargo-")
        world.vouch(other.partition(":")[2], sha256(BIG[:5000]))
        world.releases.put(other.partition(":")[2], BIG[:5000])
        world.files.may_sync.clear()
        try:
            reply = await world.ask(KEY)
            assert isinstance(reply, Growing)
            await landed(reply, len(BIG))
            async with asyncio.timeout(5):
                assert inline(await world.ask(other)).content == BIG[:5000]
            assert not reply.file.is_over
        finally:
            world.files.may_sync.set()
        await ended(reply)
        await world.settled()


async def test_bodies_that_pass_through_are_bounded_and_hold_up_no_fill(tmp_path: Path) -> None:
    """Four connections: one for a body that passes, three for fills."""
    async with World(tmp_path, budget=1_000_000, max_connections=4) as world:
        publish(world)
        world.releases.put("/rustup/release-stable.toml", TOML)
        slow = pass_through(await world.ask(KEY))  # its reader takes nothing
        waiting = [asyncio.create_task(world.ask(KEY)) for _ in range(3)]
        async with asyncio.timeout(5):
            while not world.filler.waiting or world.releases.open > 1:
                await asyncio.sleep(0.001)
            small = await world.ask("releases:/rustup/release-stable.toml")
        assert inline(small).content == TOML
        assert not any(ask.done() for ask in waiting)
        assert await read_all(slow) == BIG
        async with asyncio.timeout(10):
            for ask in asyncio.as_completed(waiting):
                assert await read_all(pass_through(await ask)) == BIG
        await world.settled()


async def test_a_body_gone_while_it_waited_to_pass_through_is_absent(tmp_path: Path) -> None:
    async with World(tmp_path, budget=1_000_000, max_connections=4) as world:
        publish(world)
        slow = pass_through(await world.ask(KEY))
        waiting = asyncio.create_task(world.ask(KEY))
        async with asyncio.timeout(5):
            while not world.filler.waiting:
                await asyncio.sleep(0.001)
        del world.releases.resources[PATH]
        assert await read_all(slow) == BIG
        reply = await waiting
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404


async def test_a_disk_that_fails_under_bodies_is_one_alarm_and_they_pass_through(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        gate = asyncio.Event()
        publish(world).steps = [Step(body_gate=gate, gate_at=1_000_000)]
        reply = await world.ask(KEY)
        assert isinstance(reply, Growing)
        await landed(reply, 1_000_000)
        world.files.is_full = True
        gate.set()
        await ended(reply)
        assert reply.file.failure is not None
        assert reply.file.failure.is_unstored
        for _ in range(3):
            assert await read_all(pass_through(await world.ask(KEY))) == BIG
        await world.settled()
        [event] = world.log.named("store-trouble")
        assert event["kind"] == "disk-full"
        assert world.log.errors == ["store-trouble"]
        quiet = ("pass-through", "not-stored", "body-left-by-store", "no-room")
        assert [name for name in quiet if world.log.named(name)] == []
        assert world.files.refused > 0


async def test_what_the_disk_takes_again_is_stored_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        publish(world)
        world.files.is_full = True
        assert await read_all(pass_through(await world.ask(KEY))) == BIG
        await world.settled()
        world.files.is_full = False
        await world.storing()
        assert len(world.log.named("store-recovered")) == 1
        grown = await ended(await world.ask(KEY))
        assert grown.file.stored is not None
        assert world.stored_content(KEY) == BIG
        assert world.partials() == []
