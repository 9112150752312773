"""`mirror.fill.bodies`: what of a growing body survives a keeper restart, and what must not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mirror.fill.frames import (
    FrameType,
)
from mirror.fill.messages import (
    FlightState,
    InlineAnswer,
    PassThroughAnswer,
)
from mirror.store.entry import Stored
from tests.unit.fill.fake_keeper import (
    CONTENT,
    KEY,
    FakeKeeper,
    blob_file,
    entry,
    eventually,
    growing,
    keeper_and_client,
    stored_answer,
    stored_of,
)
from tests.unit.fill.growing_world import NOT_FOUND, grow, moved, progress, read


class TestGrowingAcrossARestart:
    async def restart(self, keeper: FakeKeeper) -> int:
        """Kill and restart the keeper; return the stream of the follower's second ask."""
        await keeper.kill()
        await keeper.start()
        stream, asked = await keeper.take_ask()
        assert asked.key == KEY
        return stream

    async def test_it_goes_on_in_the_same_file(self, tmp_path: Path) -> None:
        path = tmp_path / "partial"
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, path, 100)
            read(body)
            waiting = asyncio.create_task(moved(body))
            stream = await self.restart(keeper)
            keeper.send(FrameType.ANSWER, stream, growing(path, 100, flight=1))
            await waiting
            assert (body.state, body.epoch) == (FlightState.RUNNING, 1)
            path.write_bytes(CONTENT[:300])
            keeper.send(FrameType.PROGRESS, 0, progress(300, flight=1))
            await moved(body)
            assert read(body) == CONTENT[:300]
            body.release()
            assert (await keeper.take(FrameType.CANCEL)).stream == stream

    async def test_it_ends_verified_when_the_blob_was_published_meanwhile(
        self, tmp_path: Path
    ) -> None:
        path, blob = tmp_path / "partial", blob_file(tmp_path)
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, path, 100)
            read(body)
            path.write_bytes(CONTENT)
            os.rename(path, blob)
            stream = await self.restart(keeper)
            keeper.send(FrameType.ANSWER, stream, stored_answer(stored_of(blob)))
            await moved(body)
            assert (body.state, body.epoch) == (FlightState.VERIFIED, 1)
            assert (body.sendable, body.landed, body.length) == (10000, 10000, 10000)
            assert read(body) == CONTENT

    async def test_bytes_of_one_file_are_never_joined_to_another(self, tmp_path: Path) -> None:
        """The prefix was sent unverified; only the same inode says that it is the same prefix."""
        path, other = tmp_path / "partial", tmp_path / "other"
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, path, 100)
            read(body)
            other.write_bytes(CONTENT[:100])
            stream = await self.restart(keeper)
            keeper.send(FrameType.ANSWER, stream, growing(other, 100, flight=1))
            await moved(body)
            with pytest.raises(OSError, match="tale"):
                body.open()

    async def test_a_follower_that_gave_nothing_out_may_read_another_file(
        self, tmp_path: Path
    ) -> None:
        path, other = tmp_path / "partial", tmp_path / "other"
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, path, 100)
            read(body)
            body.sent = 0
            other.write_bytes(CONTENT[:50])
            stream = await self.restart(keeper)
            keeper.send(FrameType.ANSWER, stream, growing(other, 50, flight=1))
            await moved(body)
            assert read(body) == CONTENT[:50]

    @pytest.mark.parametrize(
        "sent", [pytest.param(60, id="told"), pytest.param(None, id="assumed")]
    )
    async def test_bytes_that_would_be_fetched_again_end_the_body(
        self, tmp_path: Path, sent: int | None
    ) -> None:
        path = tmp_path / "partial"
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, path, 100)
            read(body)
            body.sent = sent
            stream = await self.restart(keeper)
            keeper.send(FrameType.ANSWER, stream, growing(path, 59, flight=1))
            await moved(body)
            assert body.state is FlightState.FAILED
            assert (await keeper.take(FrameType.CANCEL)).stream == stream
            assert "0 flights" in repr(client)

    async def test_another_digest_ends_the_body(self, tmp_path: Path) -> None:
        path = tmp_path / "partial"
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, path, 100)
            stream = await self.restart(keeper)
            answer = growing(path, 100)
            other = entry(b"other content of the same key")
            changed = type(answer)(
                flight=1,
                path=str(path),
                entry=other,
                sendable=0,
                landed=0,
                length=other.length,
                collapsed=False,
            )
            keeper.send(FrameType.ANSWER, stream, changed)
            await moved(body)
            assert body.state is FlightState.FAILED

    async def test_an_absence_ends_the_body(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            stream = await self.restart(keeper)
            absent = Stored(entry=entry(status=404), attestation=None)
            keeper.send(FrameType.ANSWER, stream, stored_answer(absent))
            await moved(body)
            assert body.state is FlightState.FAILED

    async def test_a_failure_ends_the_body(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            stream = await self.restart(keeper)
            keeper.send(FrameType.ANSWER, stream, NOT_FOUND)
            await moved(body)
            assert body.failure == NOT_FOUND

    async def test_an_inline_answer_serves_a_follower_that_gave_nothing_out(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            stream = await self.restart(keeper)
            keeper.send(FrameType.ANSWER, stream, InlineAnswer(entry=entry(), outcome="hit"))
            keeper.send(FrameType.DATA, stream, CONTENT)
            keeper.send(FrameType.END, stream)
            await moved(body)
            assert (body.state, body.content) == (FlightState.VERIFIED, CONTENT)

    async def test_an_inline_answer_ends_a_follower_that_gave_bytes_out(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            body.sent = 1
            stream = await self.restart(keeper)
            keeper.send(FrameType.ANSWER, stream, InlineAnswer(entry=entry(), outcome="hit"))
            keeper.send(FrameType.DATA, stream, CONTENT)
            keeper.send(FrameType.END, stream)
            await moved(body)
            assert body.state is FlightState.FAILED

    async def test_a_pass_through_answer_ends_the_body_so_that_it_is_asked_for_again(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            stream = await self.restart(keeper)
            keeper.send(FrameType.ANSWER, stream, PassThroughAnswer(entry=entry(), length=10000))
            await moved(body)
            assert body.state is FlightState.FAILED
            assert body.failure is not None
            assert body.failure.is_unstored
            assert (await keeper.take(FrameType.CANCEL)).stream == stream

    async def test_no_keeper_in_time_ends_the_body(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path, wait_s=0.02) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            waiting = asyncio.create_task(moved(body))
            await keeper.kill()
            await waiting
            assert body.failure is not None
            assert body.failure.status == 503

    async def test_a_flight_that_kills_every_keeper_is_given_up(self, tmp_path: Path) -> None:
        path = tmp_path / "partial"
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, path, 100)
            for flight in (1, 2):
                keeper.hang_up()
                stream, _ = await keeper.take_ask()
                keeper.send(FrameType.ANSWER, stream, growing(path, 100, flight=flight))
                await moved(body)
                assert body.epoch == flight
            keeper.hang_up()
            await moved(body)
            assert body.state is FlightState.FAILED

    async def test_a_flight_that_moves_between_restarts_is_not_given_up(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "partial"
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, path, 100)
            for flight in range(1, 6):
                keeper.hang_up()
                stream, _ = await keeper.take_ask()
                keeper.send(FrameType.ANSWER, stream, growing(path, 100 * flight, flight=flight))
                step = progress(100 * (flight + 1), flight=flight)
                keeper.send(FrameType.PROGRESS, 0, step)
                while body.landed < 100 * (flight + 1):
                    await moved(body)
            assert body.state is FlightState.RUNNING

    async def test_a_follower_released_while_the_keeper_is_away_asks_no_more(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            await keeper.kill()
            await eventually(lambda: not client.is_connected)
            body.release()
            assert "0 asks" in repr(client)

    async def test_a_verified_body_survives_the_loss(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path, wait_s=0.02) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            keeper.send(FrameType.PROGRESS, 0, progress(10000, state=FlightState.VERIFIED))
            await moved(body)
            await keeper.kill()
            await eventually(lambda: not client.is_connected)
            assert body.state is FlightState.VERIFIED
            body.fail(NOT_FOUND)
            assert body.state is FlightState.VERIFIED

    async def test_closing_ends_every_wait(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await grow(keeper, client, tmp_path / "partial", 100)
            waiting = asyncio.create_task(moved(body))
            await asyncio.sleep(0)
            await client.aclose()
            await waiting
            assert body.state is FlightState.FAILED
