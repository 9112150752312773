"""What the tests of growing bodies share: asking for one, moving it, reading it.

Runs in: pytest.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from mirror.fill.bodies import GrowingBody
from mirror.fill.client import KeeperClient
from mirror.fill.frames import (
    FrameType,
)
from mirror.fill.messages import (
    Ask,
    Failed,
    FlightState,
    Progress,
)
from mirror.store.entry import Stored
from tests.unit.fill.fake_keeper import (
    CONTENT,
    DEADLINE_S,
    FakeKeeper,
    ask,
    growing,
)

NOT_FOUND = Failed(status=404, reason="no such crate")


def progress(
    landed: int,
    *,
    state: FlightState = FlightState.RUNNING,
    stored: Stored | None = None,
    failure: Failed | None = None,
    flight: int = 7,
) -> Progress:
    return Progress(
        flight=flight,
        sendable=landed,
        landed=landed,
        length=len(CONTENT),
        state=state,
        stored=stored,
        failure=failure,
    )


async def grow(
    keeper: FakeKeeper, client: KeeperClient, path: Path, landed: int, *, flight: int = 7
) -> GrowingBody:
    """Ask, and let the keeper answer with a growing file that holds `landed` bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT[:landed])
    asking = asyncio.create_task(client.ask(ask()))
    stream, _ = await keeper.take_ask()
    keeper.send(FrameType.ANSWER, stream, growing(path, landed, flight=flight))
    body = await asking
    assert isinstance(body, GrowingBody)
    return body


async def moved(body: GrowingBody) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await body.moved()


def read(body: GrowingBody) -> bytes:
    descriptor = body.open()
    try:
        return os.pread(descriptor, body.landed, 0)
    finally:
        os.close(descriptor)


async def round_trip(keeper: FakeKeeper, client: KeeperClient) -> None:
    """Everything sent before this has been received when it returns."""
    asking = asyncio.create_task(client.ask(Ask(purpose=ask().purpose, key="probe")))
    stream, _ = await keeper.take_ask()
    keeper.send(FrameType.ANSWER, stream, NOT_FOUND)
    await asking
