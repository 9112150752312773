"""`mirror.fill.client`: every ask is answered, whatever the keeper does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from mirror.accounting.uses import Use
from mirror.clock import SystemClock
from mirror.fill.bodies import GrowingBody
from mirror.fill.client import KeeperClient
from mirror.fill.frames import (
    PROTOCOL_VERSION,
    FrameType,
    encode_frame,
)
from mirror.fill.link import KeeperLink
from mirror.fill.messages import (
    Check,
    Failed,
    Hello,
    StoredAnswer,
    Uses,
    decode,
    encode,
)
from tests.unit.fill.fake_keeper import (
    CONTENT,
    KEY,
    FakeKeeper,
    RecordingLog,
    ask,
    blob_file,
    eventually,
    growing,
    keeper_and_client,
    stored_answer,
    stored_of,
)
from tests.unit.fill.growing_world import NOT_FOUND, progress


class TestAsking:
    async def test_hello_names_the_slot_and_an_ask_is_answered(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, log):
            hello = await keeper.take(FrameType.HELLO)
            assert decode(Hello, hello.payload).slot == 3
            asking = asyncio.create_task(client.ask(ask()))
            stream, asked = await keeper.take_ask()
            assert asked.key == KEY
            keeper.send(FrameType.ANSWER, stream, NOT_FOUND)
            assert await asking == NOT_FOUND
            assert client.is_connected
            assert log.names() == ["keeper-connected"]

    async def test_answers_find_their_asks_in_any_order(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            first = asyncio.create_task(client.ask(ask("index:/se/rd/a")))
            second = asyncio.create_task(client.ask(ask("index:/se/rd/b")))
            asked = {one.key: stream for stream, one in [await keeper.take_ask() for _ in "12"]}
            keeper.send(FrameType.ANSWER, asked["index:/se/rd/b"], Failed(status=404, reason="b"))
            keeper.send(FrameType.ANSWER, asked["index:/se/rd/a"], Failed(status=404, reason="a"))
            assert await first == Failed(status=404, reason="a")
            assert await second == Failed(status=404, reason="b")

    async def test_an_ask_before_the_keeper_exists_is_sent_when_it_comes(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path, is_started=False) as (keeper, client, _):
            asking = asyncio.create_task(client.ask(ask()))
            await eventually(lambda: "0 flights" in repr(client) and "1 asks" in repr(client))
            await keeper.start()
            stream, _ = await keeper.take_ask()
            keeper.send(FrameType.ANSWER, stream, NOT_FOUND)
            assert await asking == NOT_FOUND

    async def test_without_a_keeper_an_ask_fails_after_its_wait(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path, wait_s=0.02, is_started=False) as (_, client, _log):
            reply = await client.ask(ask())
            assert isinstance(reply, Failed)
            assert (reply.status, reply.retry_after_s) == (503, 2)
            assert "0 asks" in repr(client)

    async def test_a_lost_ask_is_sent_again_on_the_next_connection(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, log):
            asking = asyncio.create_task(client.ask(ask()))
            await keeper.take_ask()
            await keeper.kill()
            await keeper.start()
            stream, asked = await keeper.take_ask()
            assert asked == ask()
            keeper.send(FrameType.ANSWER, stream, NOT_FOUND)
            assert await asking == NOT_FOUND
            assert log.names() == ["keeper-connected", "keeper-lost", "keeper-connected"]

    async def test_a_lost_ask_fails_when_no_keeper_comes(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path, wait_s=0.02) as (keeper, client, _):
            asking = asyncio.create_task(client.ask(ask()))
            await keeper.take_ask()
            await keeper.kill()
            reply = await asking
            assert isinstance(reply, Failed)
            assert reply.status == 503

    async def test_an_ask_that_kills_every_keeper_is_given_up(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = asyncio.create_task(client.ask(ask()))
            for _ in range(3):
                await keeper.take_ask()
                keeper.hang_up()
            reply = await asking
            assert isinstance(reply, Failed)
            assert reply.status == 503
            assert keeper.frames == [] or all(f.type is not FrameType.ASK for f in keeper.frames)

    async def test_a_cancelled_ask_is_cancelled_at_the_keeper(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = asyncio.create_task(client.ask(ask()))
            stream, _ = await keeper.take_ask()
            asking.cancel()
            assert (await keeper.take(FrameType.CANCEL)).stream == stream
            keeper.send(FrameType.ANSWER, stream, NOT_FOUND)  # too late, and ignored
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert "0 asks" in repr(client)

    async def test_a_body_answered_in_the_turn_of_the_cancellation_is_released(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = asyncio.create_task(client.ask(ask()))
            stream, _ = await keeper.take_ask()
            keeper.send(FrameType.ANSWER, stream, growing(tmp_path / "t", 10))
            await eventually(lambda: "1 flights" in repr(client))
            asking.cancel()
            await asyncio.wait([asking])
            if asking.cancelled():
                assert (await keeper.take(FrameType.CANCEL)).stream == stream
            else:
                body = asking.result()
                assert isinstance(body, GrowingBody)
                body.release()
            assert "0 flights" in repr(client)

    async def test_closing_answers_what_waits(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = asyncio.create_task(client.ask(ask()))
            await keeper.take_ask()
            await client.aclose()
            reply = await asking
            assert isinstance(reply, Failed)
            assert reply.reason == "the worker is stopping"
            assert await client.ask(ask()) == reply
            assert "closed" in repr(client)

    async def test_closing_before_starting_is_harmless(self, tmp_path: Path) -> None:
        client = KeeperClient(
            str(tmp_path / "s"),
            0,
            store_path=str(tmp_path),
            wait_s=1,
            clock=SystemClock(),
            log=RecordingLog(),
        )
        await client.aclose()
        await client.aclose()

    async def test_a_stored_answer_is_passed_on(self, tmp_path: Path) -> None:
        blob = blob_file(tmp_path)
        blob.write_bytes(CONTENT)
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = asyncio.create_task(client.ask(ask()))
            stream, _ = await keeper.take_ask()
            keeper.send(FrameType.ANSWER, stream, stored_answer(stored_of(blob)))
            reply = await asking
            assert isinstance(reply, StoredAnswer)
            assert reply.stored == stored_of(blob)


class TestProtocol:
    @pytest.mark.parametrize(
        "hello",
        [
            pytest.param(bytes([PROTOCOL_VERSION + 1]) + b"\1\0\0\0\0\0\0\0\0\0\0", id="version"),
            pytest.param(
                encode_frame(FrameType.PROGRESS, 0, encode(progress(1))), id="frame-before-hello"
            ),
            pytest.param(encode_frame(FrameType.HELLO, 0, b"nonsense"), id="hello-of-nonsense"),
            pytest.param(
                encode_frame(FrameType.HELLO, 0, encode(Hello(slot=-1, pid=1)))
                + encode_frame(FrameType.ASK, 1, encode(ask())),
                id="keeper-asks",
            ),
        ],
    )
    async def test_a_peer_of_another_protocol_is_hung_up_on(
        self, tmp_path: Path, hello: bytes
    ) -> None:
        keeper = FakeKeeper(tmp_path / "keeper.sock", hello=hello)
        await keeper.start()
        log = RecordingLog()
        client = KeeperClient(
            keeper.path, 0, store_path=str(tmp_path), wait_s=0.05, clock=SystemClock(), log=log
        )
        client.start()
        reply = await client.ask(ask())
        await eventually(lambda: "keeper-protocol-error" in log.names())
        await client.aclose()
        await keeper.kill()
        assert isinstance(reply, Failed)
        assert reply.status == 503

    async def test_a_broken_answer_ends_the_connection_and_is_asked_again(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, log):
            asking = asyncio.create_task(client.ask(ask()))
            stream, _ = await keeper.take_ask()
            keeper.send(FrameType.ANSWER, stream, b"\xc1")
            stream, _ = await keeper.take_ask()
            keeper.send(FrameType.ANSWER, stream, NOT_FOUND)
            assert await asking == NOT_FOUND
            assert "keeper-protocol-error" in log.names()

    async def test_frames_of_streams_and_flights_that_nobody_knows_are_ignored(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            asking = asyncio.create_task(client.ask(ask()))
            stream, _ = await keeper.take_ask()
            keeper.send(FrameType.DATA, 99, b"x")
            keeper.send(FrameType.END, 99)
            keeper.send(FrameType.ANSWER, 99, NOT_FOUND)
            keeper.send(FrameType.CREDIT, stream, b"\0\0\0\1")
            keeper.send(FrameType.PROGRESS, 0, progress(5, flight=1234))
            keeper.send(FrameType.ANSWER, stream, NOT_FOUND)
            assert await asking == NOT_FOUND
            assert keeper.connections == 1

    async def test_a_link_says_its_state(self) -> None:
        class Sink:
            def link_opened(self, link: KeeperLink) -> None: ...

            def link_frame(self, link: KeeperLink, frame: object) -> None: ...

            def link_closed(self, link: KeeperLink) -> None: ...

        link = KeeperLink(1, Sink(), RecordingLog())
        link.send(FrameType.CANCEL, 1)  # without a connection: nothing
        link.cut()
        assert repr(link) == "<KeeperLink slot 1 not open>"
        link.pause_writing()
        assert link.is_congested
        link.resume_writing()
        assert not link.is_congested


class TestRecency:
    async def test_keys_are_sent_in_one_batch(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            await eventually(lambda: client.is_connected)
            client.used("a", 1, 100, 1, 100)
            client.used("b", 1, 0, 0, 50)
            client.used("a", 2, 30, 0, 100)
            told = decode(Uses, (await keeper.take(FrameType.USED)).payload)
            assert sorted(told.uses) == [Use("a", 3, 130, 1, 100), Use("b", 1, 0, 0, 50)]

    async def test_last_uses_are_told_before_the_worker_ends(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            await eventually(lambda: client.is_connected)
            client.used("a", 1, 100, 0, 100)
            await client.aclose()
            told = decode(Uses, (await keeper.take(FrameType.USED)).payload)
            assert told.uses == (Use("a", 1, 100, 0, 100),)

    async def test_keys_are_dropped_without_a_keeper(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path, is_started=False) as (_, client, _log):
            client.used("a", 1, 100, 0, 100)
            client._tell(FrameType.USED, client._notices._recency.batches())
            assert client._notices._recency.batches() == []


class TestChecks:
    async def test_crates_of_one_turn_share_a_message_and_are_named_once(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            await eventually(lambda: client.is_connected)
            for key in ("a", "b", "a"):
                client.check(key)
            frame = await keeper.take(FrameType.CHECK)
            assert (frame.stream, sorted(decode(Check, frame.payload).keys)) == (0, ["a", "b"])
            client.check("a")  # too soon
            client.check("c")
            frame = await keeper.take(FrameType.CHECK)
            assert decode(Check, frame.payload).keys == ("c",)

    async def test_a_check_that_found_no_keeper_is_wanted_again_by_the_next_hit(
        self, tmp_path: Path
    ) -> None:
        async with keeper_and_client(tmp_path) as (keeper, client, _):
            await eventually(lambda: client.is_connected)
            client.check("a")
            await keeper.take(FrameType.CHECK)
            await keeper.kill()
            await eventually(lambda: not client.is_connected)
            client.check("a")
            await eventually(
                lambda: repr(client._notices) == "<Notices 0 used, 0 to check, 0 to code>"
            )
            await keeper.start()
            await eventually(lambda: client.is_connected)
            client.check("a")
            frame = await keeper.take(FrameType.CHECK)
            assert decode(Check, frame.payload).keys == ("a",)

    async def test_a_closed_client_keeps_no_timer(self, tmp_path: Path) -> None:
        async with keeper_and_client(tmp_path) as (_, client, _log):
            client.check("a")
            await client.aclose()
            client.check("b")
            assert client._notices._tell_timer is None


def test_the_worker_side_loads_no_upstream_library() -> None:
    code = (
        "import sys, mirror.fill.client, mirror.fill.plan, mirror.accounting.counters\n"
        "bad = {'aiohttp', 'botocore', 'cryptography', 'prometheus_client', 'jinja2', 'rich'}\n"
        "print(sorted(bad & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
