"""`mirror.fill.client`: content that comes over the socket is whole, or a failure."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.errors import MirrorError
from mirror.fill.bodies import BodyAborted, InlineBody, PassThroughBody
from mirror.fill.client import KeeperClient
from mirror.fill.frames import (
    INITIAL_CREDIT_BYTES,
    FrameType,
)
from mirror.fill.messages import (
    Failed,
    InlineAnswer,
    PassThroughAnswer,
    encode,
)
from tests.unit.fill.fake_keeper import (
    CONTENT,
    KEY,
    FakeKeeper,
    ask,
    entry,
    eventually,
    keeper_and_client,
)
from tests.unit.fill.growing_world import NOT_FOUND, round_trip


class TestInline:
    async def ask_inline(self, keeper: FakeKeeper, client: KeeperClient) -> asyncio.Task[object]:
        asking: asyncio.Task[object] = asyncio.create_task(client.ask(ask()))
        stream, _ = await keeper.take_ask()
        assert stream == 1
        keeper.send(FrameType.ANSWER, 1, InlineAnswer(entry=entry(), outcome="fwd=uri-miss"))
        return asking

    async def test_inline_content_is_answered_when_it_is_complete(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = await self.ask_inline(keeper, client)
            keeper.send(FrameType.DATA, 1, CONTENT[:4000])
            keeper.send(FrameType.DATA, 1, CONTENT[4000:])
            keeper.send(FrameType.END, 1)
            reply = await asking
            assert isinstance(reply, InlineBody)
            assert (reply.content, reply.outcome) == (CONTENT, "fwd=uri-miss")
            assert repr(reply) == f"<InlineBody {KEY} 10000 bytes>"

    async def test_inline_content_that_ends_short_is_a_failure(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = await self.ask_inline(keeper, client)
            keeper.send(FrameType.DATA, 1, CONTENT[:4000])
            keeper.send(FrameType.END, 1)
            reply = await asking
            assert isinstance(reply, Failed)
            assert reply.status == 502

    async def test_an_end_without_an_answer_is_a_failure(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = asyncio.create_task(client.ask(ask()))
            stream, _ = await keeper.take_ask()
            keeper.send(FrameType.END, stream)
            reply = await asking
            assert isinstance(reply, Failed)
            assert reply.status == 502

    async def test_inline_content_can_end_in_a_failure(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = await self.ask_inline(keeper, client)
            keeper.send(FrameType.DATA, 1, CONTENT)
            keeper.send(FrameType.END, 1, NOT_FOUND)
            assert await asking == NOT_FOUND

    async def test_more_inline_content_than_announced_ends_the_connection(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, log):
            asking = await self.ask_inline(keeper, client)
            keeper.send(FrameType.DATA, 1, CONTENT + b"!")
            stream, _ = await keeper.take_ask()
            keeper.send(FrameType.ANSWER, stream, NOT_FOUND)
            assert await asking == NOT_FOUND
            assert "keeper-protocol-error" in log.names()

    async def test_inline_content_starts_over_after_a_loss(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = await self.ask_inline(keeper, client)
            keeper.send(FrameType.DATA, 1, CONTENT[:4000])
            await keeper.kill()
            await keeper.start()
            stream, _ = await keeper.take_ask()
            keeper.send(FrameType.ANSWER, stream, InlineAnswer(entry=entry(), outcome="hit"))
            keeper.send(FrameType.DATA, stream, CONTENT)
            keeper.send(FrameType.END, stream)
            reply = await asking
            assert isinstance(reply, InlineBody)
            assert reply.content == CONTENT

    async def test_inline_content_beyond_the_initial_credit_earns_more(
        self, tmp_path: Path
    ) -> None:
        content = bytes(INITIAL_CREDIT_BYTES + 70000)
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = asyncio.create_task(client.ask(ask()))
            stream, _ = await keeper.take_ask()
            answer = InlineAnswer(entry=entry(content), outcome="hit")
            keeper.send(FrameType.ANSWER, stream, answer)
            credit = INITIAL_CREDIT_BYTES
            at = 0
            while at < len(content):
                step = min(60000, credit, len(content) - at)
                if step == 0:
                    frame = await keeper.take(FrameType.CREDIT)
                    assert frame.stream == stream
                    credit += int.from_bytes(frame.payload, "big")
                    continue
                keeper.send(FrameType.DATA, stream, content[at : at + step])
                at, credit = at + step, credit - step
            keeper.send(FrameType.END, stream)
            reply = await asking
            assert isinstance(reply, InlineBody)
            assert reply.content == content


class TestPassThrough:
    async def begin(
        self, keeper: FakeKeeper, client: KeeperClient, length: int = 10000
    ) -> PassThroughBody:
        asking = asyncio.create_task(client.ask(ask()))
        stream, _ = await keeper.take_ask()
        assert stream == 1
        answer = PassThroughAnswer(entry=replace(entry(), length=length), length=length)
        keeper.send(FrameType.ANSWER, 1, answer)
        body = await asking
        assert isinstance(body, PassThroughBody)
        return body

    async def test_it_is_read_to_its_verified_end(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await self.begin(keeper, client)
            reading = asyncio.create_task(body.read())
            keeper.send(FrameType.DATA, 1, CONTENT[:6000])
            assert await reading == CONTENT[:6000]
            keeper.send(FrameType.DATA, 1, CONTENT[6000:])
            keeper.send(FrameType.END, 1)
            assert await body.read() == CONTENT[6000:]
            assert await body.read() == b""
            assert await body.read() == b""
            assert repr(body) == f"<PassThroughBody {KEY} complete 10000/10000>"
            body.release()

    async def test_credit_is_given_for_what_is_read_and_not_before(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await self.begin(keeper, client, length=-1)
            for _ in range(4):
                keeper.send(FrameType.DATA, 1, bytes(60000))
            await eventually(lambda: "240000" in repr(body))
            assert all(frame.type is not FrameType.CREDIT for frame in keeper.frames)
            await body.read()
            await body.read()
            credit = await keeper.take(FrameType.CREDIT)
            assert (credit.stream, int.from_bytes(credit.payload, "big")) == (1, 120000)

    @pytest.mark.parametrize(
        "end", [pytest.param(encode(NOT_FOUND), id="failure"), pytest.param(b"", id="short")]
    )
    async def test_an_end_that_is_none_aborts(self, tmp_path: Path, end: bytes) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await self.begin(keeper, client)
            keeper.send(FrameType.DATA, 1, CONTENT[:6000])
            assert await body.read() == CONTENT[:6000]
            keeper.send(FrameType.END, 1, end)
            with pytest.raises(BodyAborted) as caught:
                await body.read()
            assert isinstance(caught.value, MirrorError)
            assert caught.value.failure.status in (404, 502)

    async def test_the_loss_of_the_keeper_aborts(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await self.begin(keeper, client)
            reading = asyncio.create_task(body.read())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="one reader"):
                await body.read()
            await keeper.kill()
            with pytest.raises(BodyAborted):
                await reading
            body.release()

    async def test_release_cancels_the_stream_once(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            body = await self.begin(keeper, client)
            body.release()
            body.release()
            assert (await keeper.take(FrameType.CANCEL)).stream == 1
            keeper.send(FrameType.DATA, 1, b"late")
            await round_trip(keeper, client)
            with pytest.raises(BodyAborted, match="released"):
                await body.read()
            body.feed(b"later")
            body.finish(None)
            assert "failed" in repr(body)
