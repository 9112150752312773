"""`mirror.fill.client` and `bodies`: growing bodies move together, and end with their flight."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from mirror.fill.frames import (
    FrameType,
)
from mirror.fill.messages import (
    Failed,
    FlightState,
)
from tests.unit.fill.fake_keeper import (
    CONTENT,
    KEY,
    blob_file,
    eventually,
    keeper_and_client,
    stored_of,
)
from tests.unit.fill.growing_world import grow, moved, progress, read, round_trip


class TestGrowing:
    async def test_one_progress_moves_all_followers(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            bodies = [await grow(keeper, client, tmp_path / "partial", 100) for _ in range(3)]
            waits = [asyncio.create_task(moved(body)) for body in bodies]
            keeper.send(FrameType.PROGRESS, 0, progress(5000))
            await asyncio.gather(*waits)
            assert [(body.sendable, body.landed) for body in bodies] == [(5000, 5000)] * 3
            assert repr(bodies[0]) == f"<GrowingBody {KEY} running 5000/5000/10000>"

    async def test_a_move_before_the_wait_is_not_lost(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            keeper.send(FrameType.PROGRESS, 0, progress(200))
            await eventually(lambda: body.landed == 200)
            await moved(body)

    async def test_a_verified_and_published_body_opens_the_blob(self, tmp_path: Path) -> None:
        blob = blob_file(tmp_path)
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            assert read(body) == CONTENT[:100]
            (tmp_path / "partial").write_bytes(CONTENT)
            os.rename(tmp_path / "partial", blob)
            done = progress(10000, state=FlightState.VERIFIED, stored=stored_of(blob))
            keeper.send(FrameType.PROGRESS, 0, done)
            await moved(body)
            assert body.is_over
            assert body.stored == stored_of(blob)
            assert read(body) == CONTENT
            await moved(body)  # over: at once
            body.release()
            assert "0 flights" in repr(client)

    async def test_a_file_renamed_before_its_announcement_is_found(self, tmp_path: Path) -> None:
        blob = blob_file(tmp_path)
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            os.rename(tmp_path / "partial", blob)
            assert read(body) == CONTENT[:100]

    async def test_a_file_that_is_nowhere_is_an_error(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            (tmp_path / "partial").unlink()
            with pytest.raises(FileNotFoundError):
                body.open()

    async def test_a_blob_that_is_not_the_attested_one_is_not_opened(self, tmp_path: Path) -> None:
        blob = blob_file(tmp_path)
        blob.write_bytes(b"x" * len(CONTENT))
        attested = stored_of(blob)
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            done = progress(10000, state=FlightState.VERIFIED, stored=attested)
            keeper.send(FrameType.PROGRESS, 0, done)
            await moved(body)
            blob.write_bytes(b"y")
            with pytest.raises(OSError, match="tale") as caught:
                body.open()
            assert caught.value.errno == errno.ESTALE

    async def test_a_failed_flight_fails_every_follower_for_good(self, tmp_path: Path) -> None:
        failure = Failed(status=502, reason="wrong digest")
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            keeper.send(FrameType.PROGRESS, 0, progress(100, state=FlightState.FAILED))
            await moved(body)
            assert body.state is FlightState.FAILED
            assert body.failure is not None
            other = await grow(keeper, client, tmp_path / "partial", 100, flight=8)
            failed = progress(100, state=FlightState.FAILED, failure=failure, flight=8)
            keeper.send(FrameType.PROGRESS, 0, failed)
            await moved(other)
            assert other.failure == failure
            other.advance(progress(10000, state=FlightState.VERIFIED))
            assert (other.state, other.landed) == (FlightState.FAILED, 100)

    async def test_the_last_follower_cancels_every_ask_of_the_flight(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            first = await grow(keeper, client, tmp_path / "partial", 100)
            second = await grow(keeper, client, tmp_path / "partial", 100)
            first.release()
            first.release()
            second.release()
            streams = [(await keeper.take(FrameType.CANCEL)).stream for _ in range(2)]
            assert streams == [1, 2]
            await asyncio.create_task(round_trip(keeper, client))
            assert all(frame.type is not FrameType.CANCEL for frame in keeper.frames)

    async def test_a_second_waiter_is_a_misuse(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            waiting = asyncio.create_task(body.moved())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="one follower"):
                await body.moved()
            waiting.cancel()
            await asyncio.wait([waiting])
            waiting = asyncio.create_task(moved(body))  # a cancelled wait leaves no trace
            keeper.send(FrameType.PROGRESS, 0, progress(200))
            await waiting
