"""Requests over HTTP/2 that a worker recalls, and what it did with them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mirror.http.h2_frames import ACK, SETTINGS, frame_head
from mirror.serve.account import Account, Answering, Books
from mirror.serve.hot_entry import SMALL_BYTES
from mirror.serve.request import Request
from tests.http2_client import Peer, Received, Setting
from tests.unit.serve.fakes import (
    CRATE_KEY,
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
)
from tests.unit.serve.h2_client import Client, connected

SMALL = b"small content\n" * 20
OTHER_TARGET = "/index/to/ki/tokio"
OTHER_KEY = INDEX_KEY.replace("se/rd/serde", "to/ki/tokio")
SEVERAL_FRAMES = os.urandom(40_000)
LARGE = os.urandom(SMALL_BYTES + 4_000)
WIDE = {Setting.INITIAL_WINDOW_SIZE: 1 << 20}
SETTINGS_ACK = frame_head(0, SETTINGS, ACK, 0)
Fields = tuple[tuple[str, str], ...]


def tag_of(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


@dataclass(frozen=True)
class Asked:
    path: str = INDEX_TARGET
    method: str = "GET"
    fields: Fields = (("user-agent", "cargo/1.95"),)


def keep(bench: Bench) -> None:
    bench.reader.keep(INDEX_KEY, SMALL)
    bench.reader.keep(OTHER_KEY, SEVERAL_FRAMES)
    bench.reader.keep(CRATE_KEY, LARGE)


class Unacknowledging(Peer):
    """A client that keeps its dynamic table: none of its blocks is recalled."""

    def take(self) -> bytes:
        return super().take().replace(SETTINGS_ACK, b"")


class Observed:
    """How many requests were read; what is recalled has no account of its own."""

    def __init__(self, bench: Bench) -> None:
        self.read = 0
        observed = self

        class Counted(Account):
            __slots__ = ()

            def __init__(
                self, books: Books, stream: Answering, request: Request | None, head: bytes, at: int
            ) -> None:
                super().__init__(books, stream, request, head, at)
                observed.read += 1

        bench.worker.accounts.account_type = Counted


async def ask_all(client: Client, asked: list[Asked]) -> list[Received]:
    """Ask for all at once."""
    ids = [client.peer.ask(each.path, each.fields, method=each.method) for each in asked]
    await client.until(lambda: client.peer.are_over)
    return [client.peer.responses[stream_id] for stream_id in ids]


@asynccontextmanager
async def wide(bench: Bench, kind: type[Peer] = Peer) -> AsyncIterator[Client]:
    peer = kind(settings=WIDE)
    async with connected(bench, peer) as client:
        peer.h2.increment_flow_control_window(1 << 24)
        await client.get("/livez")  # the acknowledgement, and the reduction of the table
        yield client


def shown(response: Received) -> tuple[int, dict[str, str], bytes, bool]:
    return response.status, response.fields, bytes(response.content), response.is_complete
