"""A scripted keeper on a unix socket, and what the tests of the worker's end share.

Rules:
1. It answers HELLO by itself; everything else is the test's to send, frame by frame.
2. `kill` ends connection and listener at once, as SIGKILL would; `start` listens again.

Runs in: pytest.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from mirror.clock import SystemClock
from mirror.fill.client import KeeperClient
from mirror.fill.frames import Frame, FrameReader, FrameType, encode_frame
from mirror.fill.messages import (
    Ask,
    GrowingAnswer,
    Hello,
    Message,
    Purpose,
    StoredAnswer,
    decode,
    encode,
)
from mirror.store.entry import Attestation, Entry, Stored
from mirror.store.layout import blob_path

DEADLINE_S = 5.0
KEY = "crates:/crates/serde/serde-1.0.0.crate"
CONTENT = b"0123456789" * 1000


class RecordingLog:
    """Keeps the events for assertions."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    warning = error = info

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


class FakeKeeper:
    """One listener, the latest connection, and every frame that came, in order."""

    def __init__(self, path: Path, *, hello: bytes | None = None) -> None:
        self.path = str(path)
        self.frames: list[Frame] = []
        self.connections = 0
        self._hello = (
            hello if hello is not None else _frame(FrameType.HELLO, 0, Hello(slot=-1, pid=1))
        )
        self._arrived = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def kill(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.frames.clear()
        self.hang_up()
        if self._serving:
            await asyncio.wait(self._serving)

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def send(self, type: FrameType, stream: int, message: Message | bytes = b"") -> None:
        payload = message if isinstance(message, bytes) else encode(message)
        self._writers[-1].write(encode_frame(type, stream, payload))

    def send_bytes(self, raw: bytes) -> None:
        self._writers[-1].write(raw)

    async def take(self, type: FrameType) -> Frame:
        """Wait for the next frame of the type; other types stay for later."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for frame in self.frames:
                    if frame.type is type:
                        self.frames.remove(frame)
                        return frame
                self._arrived.clear()
                await self._arrived.wait()

    async def take_ask(self) -> tuple[int, Ask]:
        frame = await self.take(FrameType.ASK)
        return frame.stream, decode(Ask, frame.payload)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        self.connections += 1
        self._writers.append(writer)
        if self._hello:
            writer.write(self._hello)
        frames = FrameReader()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.frames += frames.feed(data)
                self._arrived.set()
        writer.close()


@contextlib.asynccontextmanager
async def keeper_and_client(
    tmp_path: Path, *, wait_s: float = DEADLINE_S, is_started: bool = True
) -> AsyncIterator[tuple[FakeKeeper, KeeperClient, RecordingLog]]:
    keeper = FakeKeeper(tmp_path / "keeper.sock")
    if is_started:
        await keeper.start()
    log = RecordingLog()
    client = KeeperClient(
        keeper.path, 3, store_path=str(tmp_path), wait_s=wait_s, clock=SystemClock(), log=log
    )
    client.start()
    try:
        yield keeper, client, log
    finally:
        await client.aclose()
        await keeper.kill()


async def eventually(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not claim():
            await asyncio.sleep(0.001)


def ask(key: str = KEY, purpose: Purpose = Purpose.FETCH) -> Ask:
    return Ask(purpose=purpose, key=key)


def entry(content: bytes = CONTENT, *, key: str = KEY, status: int = 200) -> Entry:
    return Entry(
        key=key,
        status=status,
        digest=hashlib.sha256(content).digest() if status == 200 else b"",
        length=len(content) if status == 200 else 0,
        media_type="application/gzip",
        last_modified=0,
        upstream_etag="",
        upstream_last_modified="",
        fetched_at=1000.0,
        confirmed_at=1000.0,
        fresh_until=math.inf,
        proof="index",
    )


def stored_of(path: Path, content: bytes = CONTENT) -> Stored:
    """Attest the file at `path` as the blob of `content`."""
    found = path.stat()
    return Stored(
        entry=entry(content),
        attestation=Attestation(inode=found.st_ino, size=found.st_size, ctime_ns=found.st_ctime_ns),
    )


def growing(
    path: Path, landed: int, *, flight: int = 7, sendable: int | None = None
) -> GrowingAnswer:
    return GrowingAnswer(
        flight=flight,
        path=str(path),
        entry=entry(),
        sendable=landed if sendable is None else sendable,
        landed=landed,
        length=len(CONTENT),
        collapsed=False,
    )


def stored_answer(stored: Stored) -> StoredAnswer:
    return StoredAnswer(stored=stored, outcome="hit")


def blob_file(tmp_path: Path, content: bytes = CONTENT) -> Path:
    """Return the path of the blob, with its folders made."""
    path = Path(blob_path(str(tmp_path), hashlib.sha256(content).digest()))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _frame(type: FrameType, stream: int, message: Message) -> bytes:
    return encode_frame(type, stream, encode(message))
