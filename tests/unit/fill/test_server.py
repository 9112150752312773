"""The socket: client and server speak one protocol, and its rules are enforced."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import struct
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.fill.bodies import BodyAborted, GrowingBody, InlineBody, PassThroughBody
from mirror.fill.client import KeeperClient
from mirror.fill.frames import (
    INITIAL_CREDIT_BYTES,
    MAX_PAYLOAD_BYTES,
    Frame,
    FrameReader,
    FrameType,
    encode_frame,
)
from mirror.fill.messages import (
    Answer,
    Ask,
    Failed,
    FlightState,
    GrowingAnswer,
    Hello,
    InlineAnswer,
    Message,
    Progress,
    Purpose,
    StoredAnswer,
    Used,
    decode,
    decode_answer,
    encode,
)
from mirror.fill.server import KeeperServer
from tests.unit.fill.keeper_world import World, noise, sha256
from tests.unit.fill.scripted_pool import Step

KEY = "releases:/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
PATH = KEY.partition(":")[2]
LIST = "releases:/manifests.txt"
BIG = noise(2_000_000)
LINES = b"".join(
    b"static.example/dist/2026-%02d-%02d/channel-rust-nightly.toml\n" % (month, day)
    for month in range(1, 13)
    for day in range(1, 29)
)


class Peer:
    """A worker that speaks frames by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()
        self._waiting: list[Frame] = []

    def send(self, type: FrameType, stream: int, payload: Message | bytes = b"") -> None:
        raw = payload if isinstance(payload, bytes) else encode(payload)
        self._writer.write(encode_frame(type, stream, raw))

    def send_raw(self, raw: bytes) -> None:
        self._writer.write(raw)

    async def receive(self) -> Frame:
        async with asyncio.timeout(10):
            while not self._waiting:
                data = await self._reader.read(65536)
                if not data:
                    raise EOFError
                self._waiting = self._frames.feed(data)
        return self._waiting.pop(0)

    async def is_cut(self) -> bool:
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                await self.receive()
        return True

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Keeper:
    """A world behind its socket."""

    def __init__(self, world: World, directory: str) -> None:
        self.world = world
        self.path = f"{directory}/keeper.sock"
        self._peers: list[Peer] = []
        self._clients: list[KeeperClient] = []

    async def start(self) -> None:
        self.server = KeeperServer(self.world.filler, self.path, log=self.world.log)
        await self.server.start()

    async def client(self) -> KeeperClient:
        client = KeeperClient(
            self.path,
            0,
            store_path=self.world.config.store.path,
            wait_s=5.0,
            clock=self.world.clock,
            log=self.world.log,
        )
        client.start()
        self._clients.append(client)
        return client

    async def peer(self, *, is_greeted: bool = True) -> Peer:
        peer = Peer(*await asyncio.open_unix_connection(self.path))
        self._peers.append(peer)
        if is_greeted:
            hello = await peer.receive()
            assert decode(Hello, hello.payload).slot == -1
            peer.send(FrameType.HELLO, 0, Hello(slot=7, pid=1))
        return peer

    async def aclose(self) -> None:
        for client in self._clients:
            await client.aclose()
        await self.server.aclose()
        for peer in self._peers:
            await peer.close()


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
    with tempfile.TemporaryDirectory(prefix="k") as directory:  # a socket's path must be short
        async with World(tmp_path) as world:
            keeper = Keeper(world, directory)
            await keeper.start()
            yield keeper
            await keeper.aclose()


def publish(world: World, content: bytes = BIG) -> None:
    world.vouch(PATH, sha256(content))
    world.releases.put(PATH, content)


async def follow(body: GrowingBody) -> bytes:
    """Read as a whole response does: what is sendable, until verified."""
    descriptor = body.open()
    content = b""
    try:
        async with asyncio.timeout(10):
            while not (body.state is FlightState.VERIFIED and len(content) == body.length):
                content += os.pread(descriptor, body.sendable - len(content), len(content))
                assert body.state is not FlightState.FAILED
                if len(content) < body.sendable or body.state is not FlightState.VERIFIED:
                    await body.moved()
    finally:
        os.close(descriptor)
        body.release()
    return content


async def drain(body: PassThroughBody) -> bytes:
    pieces = []
    while piece := await body.read():
        pieces.append(piece)
    return b"".join(pieces)


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


async def test_content_waits_for_credit(keeper: Keeper) -> None:
    content = LINES + LINES * (3 * INITIAL_CREDIT_BYTES // len(LINES))
    keeper.world.releases.put("/manifests.txt", content)
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=LIST))
    answer = await peer.receive()
    assert isinstance(decode_answer(answer.payload), InlineAnswer)
    received = b""
    while len(received) < INITIAL_CREDIT_BYTES:
        frame = await peer.receive()
        assert (frame.type, frame.stream) == (FrameType.DATA, 1)
        received += frame.payload
    assert len(received) == INITIAL_CREDIT_BYTES
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await peer.receive()
    peer.send(FrameType.CREDIT, 1, struct.pack("!I", 10))
    assert len((await peer.receive()).payload) == 10
    peer.send(FrameType.CANCEL, 1)
    peer.send(FrameType.ASK, 2, Ask(purpose=Purpose.FETCH, key="x"))
    frame = await peer.receive()
    assert (frame.type, frame.stream) == (FrameType.ANSWER, 2)


async def test_a_flight_is_announced_once_per_turn_whatever_its_followers(
    keeper: Keeper,
) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(body_gate=gate, gate_at=100_000)]
    peer = await keeper.peer()
    for stream in range(1, 21):
        peer.send(FrameType.ASK, stream, Ask(purpose=Purpose.FETCH, key=KEY))
    answers: list[Answer] = []
    while len(answers) < 20:
        frame = await peer.receive()
        if frame.type is FrameType.ANSWER:
            answers.append(decode_answer(frame.payload))
    assert {a.flight for a in answers if isinstance(a, GrowingAnswer)} == {1}
    gate.set()
    landed = []
    while True:
        frame = await peer.receive()
        assert (frame.type, frame.stream) == (FrameType.PROGRESS, 0)
        progress = decode(Progress, frame.payload)
        landed.append((progress.landed, progress.state, progress.stored is not None))
        if progress.stored is not None:
            break
    assert len(landed) == len(set(landed))
    assert landed[-1] == (len(BIG), FlightState.VERIFIED, True)


async def test_a_follower_that_cancels_hears_no_more(keeper: Keeper) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(body_gate=gate, gate_at=100_000)]
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=KEY))
    while (await peer.receive()).type is not FrameType.ANSWER:
        pass
    peer.send(FrameType.CANCEL, 1)
    peer.send(FrameType.ASK, 2, Ask(purpose=Purpose.FETCH, key="x"))
    while (await peer.receive()).type is not FrameType.ANSWER:
        pass
    gate.set()
    await keeper.world.settled()
    assert keeper.world.stored_content(KEY) == BIG
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await peer.receive()


async def test_a_cancelled_ask_leaves_its_flight_alone(keeper: Keeper) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(gate=gate)]
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=KEY))
    async with asyncio.timeout(10):
        while not keeper.world.releases.open:
            await asyncio.sleep(0.001)
    await peer.close()
    gate.set()
    await keeper.world.settled()
    assert keeper.world.stored_content(KEY) == BIG


async def test_content_of_requests_is_accepted_and_credited(keeper: Keeper) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(gate=gate)]
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=KEY))
    peer.send(FrameType.DATA, 1, b"x" * 1000)
    frame = await peer.receive()
    assert (frame.type, frame.stream, frame.payload) == (
        FrameType.CREDIT,
        1,
        struct.pack("!I", 1000),
    )
    peer.send(FrameType.END, 1)
    gate.set()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another-protocol"),
        pytest.param(encode_frame(FrameType.ASK, 1, b""), id="an-ask-before-hello"),
        pytest.param(encode_frame(FrameType.HELLO, 0, b"\xc1"), id="a-hello-of-nonsense"),
        pytest.param(encode_frame(FrameType.HELLO, 3, b""), id="a-hello-on-a-stream"),
    ],
)
async def test_a_peer_without_a_greeting_is_cut_off(keeper: Keeper, raw: bytes) -> None:
    peer = await keeper.peer(is_greeted=False)
    peer.send_raw(raw)
    assert await peer.is_cut()
    assert keeper.world.log.named("worker-cut-off")


_ASK = encode(Ask(purpose=Purpose.FETCH, key="x"))


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([(FrameType.ASK, 1, b"\x93nonsense")], id="an-ask-of-nonsense"),
        pytest.param([(FrameType.ASK, 2, _ASK), (FrameType.ASK, 2, _ASK)], id="a-stream-again"),
        pytest.param([(FrameType.ASK, 2, _ASK), (FrameType.ASK, 1, _ASK)], id="a-lower-stream"),
        pytest.param([(FrameType.ASK, 0, _ASK)], id="stream-zero"),
        pytest.param([(FrameType.ANSWER, 1, b"")], id="an-answer"),
        pytest.param([(FrameType.HELLO, 0, b"")], id="a-second-hello"),
        pytest.param([(FrameType.USED, 0, encode(Used(keys=("k",) * 513)))], id="too-many-keys"),
    ],
)
async def test_a_worker_that_breaks_a_rule_is_cut_off(
    keeper: Keeper, frames: list[tuple[FrameType, int, bytes]]
) -> None:
    peer = await keeper.peer()
    for frame in frames:
        peer.send(*frame)
    assert await peer.is_cut()
    assert keeper.world.log.named("worker-cut-off")[0]["slot"] == 7


@pytest.mark.parametrize("payload", [b"", b"\xff\xff\xff\xff"], ids=["short", "absurd"])
async def test_nonsense_credit_is_cut_off(keeper: Keeper, payload: bytes) -> None:
    keeper.world.releases.put("/manifests.txt", LINES * 40)
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=LIST))
    await peer.receive()
    peer.send(FrameType.CREDIT, 1, payload)
    assert await peer.is_cut()


async def test_credit_for_an_ended_stream_is_ignored(keeper: Keeper) -> None:
    peer = await keeper.peer()
    peer.send(FrameType.CREDIT, 9, struct.pack("!I", 1))
    peer.send(FrameType.CANCEL, 9)
    peer.send(FrameType.DATA, 9, b"x" * MAX_PAYLOAD_BYTES)
    peer.send(FrameType.ASK, 10, Ask(purpose=Purpose.FETCH, key="x"))
    assert (await peer.receive()).type is FrameType.ANSWER


async def test_recency_reaches_the_filler(keeper: Keeper) -> None:
    peer = await keeper.peer()
    peer.send(FrameType.USED, 0, Used(keys=(KEY,)))
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key="x"))
    assert (await peer.receive()).type is FrameType.ANSWER


async def test_a_worker_that_reads_nothing_is_cut_off(keeper: Keeper) -> None:
    peer = await keeper.peer()
    keeper_side = next(iter(keeper.server._connections))
    keeper.world.releases.put("/manifests.txt", LINES)
    await keeper.world.ask(LIST)
    await keeper.world.settled()
    ask = Ask(purpose=Purpose.FETCH, key=LIST)
    with contextlib.suppress(ConnectionError):
        for stream in range(1, 60_000):
            peer.send(FrameType.ASK, stream, ask)
            if stream % 1000 == 0:
                await asyncio.sleep(0)
            if not keeper.server.connections:
                break
    assert keeper.world.log.named("worker-cut-off"), repr(keeper_side)


async def test_a_herd_that_wants_one_object_cuts_nobody_off(keeper: Keeper) -> None:
    """300 answers of 250 KB wait for one worker; when it reads again, all are woken at once."""
    content = (LINES * 20)[:250_000].rpartition(b"\n")[0] + b"\n"
    gate = asyncio.Event()
    keeper.world.releases.put("/manifests.txt", content).steps = [Step(gate=gate)]
    peer = await keeper.peer()
    for stream in range(1, 301):
        peer.send(FrameType.ASK, stream, Ask(purpose=Purpose.FETCH, key=LIST))
    async with asyncio.timeout(10):
        while not keeper.world.releases.open:
            await asyncio.sleep(0.001)
    gate.set()
    await keeper.world.settled()
    ended, received = 0, 0
    while ended < 300:
        frame = await peer.receive()
        ended += frame.type is FrameType.END
        received += len(frame.payload) if frame.type is FrameType.DATA else 0
    assert received == 300 * len(content)
    assert not keeper.world.log.named("worker-cut-off")


async def test_closing_the_server_ends_its_connections(keeper: Keeper) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(gate=gate)]
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=KEY))
    async with asyncio.timeout(10):
        while not keeper.world.releases.open:
            await asyncio.sleep(0.001)
    await keeper.server.aclose()
    assert await peer.is_cut()
    assert keeper.server.connections == 0
    gate.set()
