"""A keeper behind its real socket, and a worker that speaks frames by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from mirror.accounting.uses import LeftOut, Use
from mirror.fill.bodies import GrowingBody, PassThroughBody
from mirror.fill.client import KeeperClient
from mirror.fill.frames import (
    Frame,
    FrameReader,
    FrameType,
    encode_frame,
)
from mirror.fill.messages import (
    FlightState,
    Hello,
    Message,
    decode,
    encode,
)
from mirror.fill.server import KeeperServer
from tests.unit.fill.keeper_world import World, noise, sha256

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


class SeenUses:
    """What workers told of what they served."""

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[Use, ...], LeftOut]] = []

    def used(self, uses: Sequence[Use], left_out: LeftOut) -> None:
        self.seen.append((tuple(uses), left_out))


class Keeper:
    """A world behind its socket."""

    def __init__(self, world: World, directory: str) -> None:
        self.world = world
        self.path = f"{directory}/keeper.sock"
        self.uses = SeenUses()
        self._peers: list[Peer] = []
        self._clients: list[KeeperClient] = []

    async def start(self) -> None:
        self.server = KeeperServer(
            self.world.filler, self.path, log=self.world.log, observer=self.uses
        )
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


@asynccontextmanager
async def running_keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
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
