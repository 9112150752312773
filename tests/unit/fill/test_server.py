"""The socket: every form of answer travels over it, from a keeper to a real client."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.fill.bodies import BodyAborted, GrowingBody, InlineBody, PassThroughBody
from mirror.fill.frames import (
    INITIAL_CREDIT_BYTES,
)
from mirror.fill.messages import (
    Ask,
    Failed,
    FlightState,
    Purpose,
    StoredAnswer,
)
from mirror.fill.server import KeeperServer
from tests.unit.fill.keeper_socket import (
    BIG,
    KEY,
    LINES,
    LIST,
    PATH,
    Keeper,
    drain,
    follow,
    publish,
    running_keeper,
)
from tests.unit.fill.keeper_world import World
from tests.unit.fill.scripted_pool import Step


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
    async with running_keeper(tmp_path) as running:
        yield running


async def test_the_socket_is_for_this_user_only(keeper: Keeper) -> None:
    found = os.stat(keeper.path)
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert os.listdir(os.path.dirname(keeper.path)) == ["keeper.sock"]


async def test_a_socket_left_by_a_killed_keeper_is_replaced(keeper: Keeper) -> None:
    successor = KeeperServer(keeper.world.filler, keeper.path, log=keeper.world.log)
    await successor.start()
    await keeper.server.aclose()
    assert os.path.exists(keeper.path)  # the successor's, not removed by the predecessor
    await successor.aclose()
    assert not os.path.exists(keeper.path)


async def test_a_path_that_is_too_long_is_said_so(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        server = KeeperServer(world.filler, str(tmp_path / ("x" * 120)), log=world.log)
        with pytest.raises(StoreError, match="too long"):
            await server.start()


async def test_a_directory_that_is_absent_is_a_store_error(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        server = KeeperServer(world.filler, "absent-directory/s", log=world.log)
        with pytest.raises(StoreError):
            await server.start()


async def test_every_form_of_answer_reaches_the_worker(keeper: Keeper) -> None:
    client = await keeper.client()
    keeper.world.releases.put("/manifests.txt", LINES)
    small = await client.ask(Ask(purpose=Purpose.FETCH, key=LIST))
    assert isinstance(small, InlineBody)
    assert small.content == LINES
    await keeper.world.settled()
    assert isinstance(await client.ask(Ask(purpose=Purpose.FETCH, key=LIST)), StoredAnswer)
    assert isinstance(await client.ask(Ask(purpose=Purpose.FETCH, key="x")), Failed)
    publish(keeper.world)
    body = await client.ask(Ask(purpose=Purpose.FETCH, key=KEY))
    assert isinstance(body, GrowingBody)
    assert await follow(body) == BIG


async def test_inline_content_beyond_the_first_credit_arrives(keeper: Keeper) -> None:
    content = LINES + LINES * (3 * INITIAL_CREDIT_BYTES // len(LINES))
    keeper.world.releases.put("/manifests.txt", content)
    client = await keeper.client()
    reply = await client.ask(Ask(purpose=Purpose.FETCH, key=LIST))
    assert isinstance(reply, InlineBody)
    assert reply.content == content


async def test_followers_on_two_connections_read_one_growing_file(keeper: Keeper) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(body_gate=gate, gate_at=1_000_000)]
    clients = [await keeper.client(), await keeper.client()]
    bodies = await asyncio.gather(
        *(client.ask(Ask(purpose=Purpose.FETCH, key=KEY)) for client in clients * 5)
    )
    readers = [
        asyncio.create_task(follow(body)) for body in bodies if isinstance(body, GrowingBody)
    ]
    assert len(readers) == 10
    await asyncio.sleep(0.02)
    gate.set()
    assert all([await reader == BIG for reader in readers])
    assert keeper.world.releases.sent(PATH) == len(BIG)


async def test_a_failed_flight_reaches_its_followers(keeper: Keeper) -> None:
    publish(keeper.world)
    keeper.world.releases.resources[PATH].steps = [Step(content=BIG[:-1] + b"!")]
    client = await keeper.client()
    body = await client.ask(Ask(purpose=Purpose.FETCH, key=KEY))
    assert isinstance(body, GrowingBody)
    async with asyncio.timeout(10):
        while body.state is FlightState.RUNNING:
            await body.moved()
    assert body.failure is not None
    assert body.failure.status == 502
    assert body.sendable <= len(BIG) - 65536


async def test_a_passing_body_travels_under_credit(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="k") as directory:
        async with World(tmp_path, budget=100_000) as world:
            keeper = Keeper(world, directory)
            await keeper.start()
            publish(world)
            client = await keeper.client()
            body = await client.ask(Ask(purpose=Purpose.FETCH, key=KEY))
            assert isinstance(body, PassThroughBody)
            assert await drain(body) == BIG
            await keeper.aclose()


async def test_a_passing_body_that_disagrees_is_aborted(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="k") as directory:
        async with World(tmp_path, budget=100_000) as world:
            keeper = Keeper(world, directory)
            await keeper.start()
            publish(world)
            world.releases.resources[PATH].steps = [Step(content=BIG[:-1] + b"!")]
            client = await keeper.client()
            body = await client.ask(Ask(purpose=Purpose.FETCH, key=KEY))
            assert isinstance(body, PassThroughBody)
            with pytest.raises(BodyAborted):
                await drain(body)
            await keeper.aclose()


async def test_a_released_passing_body_ends_its_transfer(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="k") as directory:
        async with World(tmp_path, budget=100_000) as world:
            keeper = Keeper(world, directory)
            await keeper.start()
            publish(world)
            client = await keeper.client()
            body = await client.ask(Ask(purpose=Purpose.FETCH, key=KEY))
            assert isinstance(body, PassThroughBody)
            body.release()
            await world.settled()
            assert world.releases.sent(PATH) < len(BIG)
            await keeper.aclose()
