"""The stream over real sockets: shared, bounded, and nothing for nobody."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from mirror.control.live import MAX_WATCHERS, Live

DEADLINE_S = 10.0
PATIENCE_S = 0.3


@dataclass
class KeptEvents:
    """Remembers the names of events."""

    told: list[str] = field(default_factory=list)

    def info(self, event: str, /, **_fields: object) -> None:
        self.told.append(event)

    warning = error = info


@dataclass
class Source:
    """A document that the test changes."""

    sections: dict[str, Any] = field(default_factory=lambda: {"a": {"n": 1}, "b": "quiet"})
    made: int = 0
    error: Exception | None = None

    async def snapshot(self) -> dict[str, Any]:
        self.made += 1
        if self.error is not None:
            raise self.error
        return dict(self.sections)


@dataclass
class Streaming:
    live: Live
    source: Source
    log: KeptEvents
    client: aiohttp.ClientSession
    url: str


@pytest.fixture
async def streaming() -> AsyncIterator[Streaming]:
    source, log = Source(), KeptEvents()
    live = Live(source.snapshot, log, interval_s=0.01, patience_s=PATIENCE_S)
    app = web.Application()
    app.router.add_get("/events", live.answer, allow_head=False)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, sock).start()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/events"
        yield Streaming(live, source, log, client, url)
    await live.aclose()
    await runner.cleanup()


async def _events(response: aiohttp.ClientResponse, count: int) -> list[tuple[str, Any]]:
    """Read so many events."""
    events: list[tuple[str, Any]] = []
    name = ""
    async with asyncio.timeout(DEADLINE_S):
        while len(events) < count:
            line = (await response.content.readline()).decode().rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                events.append((name, json.loads(line[6:])))
    return events


async def _until(claim: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not claim():
            await asyncio.sleep(0.005)


async def test_first_all_sections_then_what_moved(streaming: Streaming) -> None:
    async with streaming.client.get(streaming.url) as response:
        assert response.content_type == "text/event-stream"
        assert await _events(response, 2) == [("a", {"n": 1}), ("b", "quiet")]
        streaming.source.sections["a"] = {"n": 2}
        assert await _events(response, 1) == [("a", {"n": 2})]


async def test_nobody_watching_costs_nothing(streaming: Streaming) -> None:
    assert streaming.source.made == 0
    async with streaming.client.get(streaming.url) as response:
        await _events(response, 2)
    await _until(lambda: streaming.live.watchers == 0)
    made = streaming.source.made
    await asyncio.sleep(0.05)  # five intervals
    assert streaming.source.made == made


async def test_who_comes_after_a_rest_gets_nothing_old(streaming: Streaming) -> None:
    async with streaming.client.get(streaming.url) as response:
        await _events(response, 2)
    await _until(lambda: streaming.live.watchers == 0)
    streaming.source.sections["a"] = {"n": 3}
    async with streaming.client.get(streaming.url) as response:
        assert (await _events(response, 1))[0] == ("a", {"n": 3})


async def test_watchers_share_snapshots_and_are_bounded(streaming: Streaming) -> None:
    responses = []
    for _ in range(MAX_WATCHERS):
        response = await streaming.client.get(streaming.url)
        await _events(response, 2)
        responses.append(response)
    made, number = streaming.source.made, streaming.live.snapshots
    assert made <= number + 1
    async with streaming.client.get(streaming.url) as refused:
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    responses[0].close()
    await _until(lambda: streaming.live.watchers < MAX_WATCHERS)
    async with streaming.client.get(streaming.url) as response:
        assert response.status == 200
    for response in responses:
        response.close()


async def test_a_snapshot_that_fails_is_told_once_and_the_stream_goes_on(
    streaming: Streaming,
) -> None:
    streaming.source.error = ValueError("a broken disk")
    async with streaming.client.get(streaming.url) as response:
        await _until(lambda: streaming.source.made >= 3)
        streaming.source.error = None
        assert len(await _events(response, 2)) == 2
    assert streaming.log.told == ["dashboard-failed"]


async def test_the_end_of_the_keeper_ends_the_streams(streaming: Streaming) -> None:
    async with streaming.client.get(streaming.url) as response:
        await _events(response, 2)
        await streaming.live.aclose()
        async with asyncio.timeout(DEADLINE_S):
            await response.content.read()
    async with streaming.client.get(streaming.url) as refused:
        assert refused.status == 503


async def _watch_and_read_nothing(url: str) -> socket.socket:
    """Ask for the stream with room for little, and take none of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    host, _, port = url.split("/")[2].partition(":")
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (host, int(port)))
    await loop.sock_sendall(sock, b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return sock


async def test_who_takes_nothing_is_cut_off_and_its_socket_closed(streaming: Streaming) -> None:
    streaming.source.sections["a"] = "x" * (16 << 20)  # more than the kernel keeps for it
    sock = await _watch_and_read_nothing(streaming.url)
    with sock:
        await _until(lambda: streaming.live.watchers == 1)
        await _until(lambda: streaming.live.watchers == 0)
        sock.settimeout(DEADLINE_S)
        received = await asyncio.to_thread(_received_until_the_end, sock)
    assert 0 < received < 16 << 20


def _received_until_the_end(sock: socket.socket) -> int:
    total = 0
    try:
        while content := sock.recv(1 << 20):
            total += len(content)
    except ConnectionResetError:
        pass
    return total


async def test_who_leaves_while_snapshots_fail_gives_its_place_back(streaming: Streaming) -> None:
    streaming.source.error = ValueError("a broken disk")
    async with streaming.client.get(streaming.url):
        assert streaming.live.watchers == 1
    await _until(lambda: streaming.live.watchers == 0)
