"""A body on its way through: its end stays back, its reader sets the pace."""

from __future__ import annotations

import asyncio

import pytest

from mirror.errors import StoreError
from mirror.fill.growing import WITHHELD_BYTES
from mirror.fill.relay import BUFFER_BYTES, Relay, RelayClosedError

FAILURE = StoreError("x", "broken")


async def test_the_newest_bytes_stay_back_until_the_end() -> None:
    relay = Relay("x")
    await relay.put(b"a" * WITHHELD_BYTES)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await relay.read()
    await relay.put(b"b" * 10)
    assert await relay.read() == b"a" * 10
    relay.finish()
    rest = await relay.read() + await relay.read()
    assert rest == b"a" * (WITHHELD_BYTES - 10) + b"b" * 10
    assert await relay.read() == b""


async def test_a_failure_wakes_the_reader_and_drops_the_rest() -> None:
    relay = Relay("x")
    reader = asyncio.create_task(relay.read())
    await asyncio.sleep(0)
    relay.fail(FAILURE)
    with pytest.raises(StoreError, match="broken"):
        await reader


async def test_a_failure_after_the_end_changes_nothing() -> None:
    relay = Relay("x")
    relay.finish()
    relay.fail(FAILURE)
    assert await relay.read() == b""


async def test_only_one_reader_gets_the_body() -> None:
    relay = Relay("x")
    assert relay.claim()
    assert not relay.claim()
    assert "claimed" in repr(relay)


async def test_a_closed_relay_cannot_be_claimed_or_filled() -> None:
    relay = Relay("x")
    relay.close()
    assert not relay.claim()
    with pytest.raises(RelayClosedError):
        await relay.put(b"x")
    await relay.emptied()


async def test_a_full_relay_waits_for_its_reader() -> None:
    relay = Relay("x")
    await relay.put(bytes(WITHHELD_BYTES + BUFFER_BYTES))
    writer = asyncio.create_task(relay.put(b"x"))
    await asyncio.sleep(0)
    assert not writer.done()
    await relay.read()
    async with asyncio.timeout(1):
        await writer


async def test_a_writer_that_waits_learns_that_the_reader_left() -> None:
    relay = Relay("x")
    await relay.put(bytes(WITHHELD_BYTES + BUFFER_BYTES))
    writer = asyncio.create_task(relay.put(b"x"))
    await asyncio.sleep(0)
    relay.close()
    with pytest.raises(RelayClosedError):
        await writer


async def test_the_end_waits_until_the_reader_has_everything() -> None:
    relay = Relay("x")
    await relay.put(b"abc")
    relay.finish()
    waiting = asyncio.create_task(relay.emptied())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await relay.read() == b"abc"
    async with asyncio.timeout(1):
        await waiting
