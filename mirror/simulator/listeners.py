"""Listeners: the three upstream hosts on three ports, which can go down and come back.

Rules:
1. HTTP/1.1 with keep-alive; requests of one connection are answered in order.
2. While down, connections are refused, not reset after accept; the ports stay reserved by bound
   sockets that never listen, so that coming back cannot fail.
3. Going down resets every open connection.

Runs in: simulator.
"""

from __future__ import annotations

import asyncio
import socket
import time
from functools import partial

from mirror.simulator.answers import Answer, answer, refuse
from mirror.simulator.coding import accepts_gzip, gzip_coded
from mirror.simulator.faults import FaultBook
from mirror.simulator.published import Site
from mirror.simulator.requests import SimulatedRequest, parse_request
from mirror.simulator.sending import close, send
from mirror.simulator.tally import Tally
from mirror.simulator.upstream import SimulatedUpstream

_LARGEST_HEAD_BYTES = 64 << 10
_WRITE_BUFFER_BYTES = 512 << 10
_BACKLOG = 1024


class Listeners:
    """Accepts and answers for the three hosts; belongs to one loop."""

    def __init__(self, upstream: SimulatedUpstream, faults: FaultBook, tally: Tally) -> None:
        self._upstream = upstream
        self._codes_index = upstream.options.gzip_index
        self._faults = faults
        self._tally = tally
        self._reserved: dict[Site, socket.socket] = {}
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_serving(self) -> bool:
        return bool(self._servers)

    def reserve(self, host: str, ports: dict[Site, int]) -> None:
        """Bind a port for each host (0: any free one) without listening."""
        for site in Site:
            port = ports.get(site, 0)
            if port:
                # SO_REUSEPORT would let two simulators share the port and its connections.
                _bound_socket(host, port, shares=False).close()
            self._reserved[site] = _bound_socket(host, port)

    def url(self, site: Site) -> str:
        host, port = self._reserved[site].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen on the reserved ports; nothing happens when already listening."""
        if self._servers:
            return
        for site in Site:
            address = self._reserved[site].getsockname()[:2]
            server = await asyncio.start_server(
                partial(self._accept, site),
                sock=_bound_socket(*address),
                backlog=_BACKLOG,
                limit=_LARGEST_HEAD_BYTES,
            )
            self._servers.append(server)

    async def stop(self) -> None:
        """Refuse new connections and reset the open ones."""
        for server in self._servers:
            server.close()
        for writer in list(self._writers):
            close(writer, "rst")
        self._servers.clear()
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def aclose(self) -> None:
        """Stop and give the ports back."""
        await self.stop()
        for reserved in self._reserved.values():
            reserved.close()

    def _accept(
        self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # A task of our own: Python 3.11 logs an error when a task of asyncio's is cancelled.
        task = asyncio.get_running_loop().create_task(self._serve(site, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(
        self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.add(writer)
        self._tally.connected(site)
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        try:
            while await self._serve_one(site, reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # The client is gone; what it was sent is counted.
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve_one(
        self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        try:
            request = parse_request(await reader.readuntil(b"\r\n\r\n"), site)
        except (ValueError, asyncio.LimitOverrunError):
            await send(refuse(400), reader, writer, _count_nothing)
            return False
        if request.has_content:
            await send(refuse(400), reader, writer, _count_nothing)
            return False
        result = self._answer(request)
        transfer = self._tally.begin(request, result, time.time())
        may_go_on = await send(result, reader, writer, transfer.sent)
        if result.cut_at < 0 and not result.is_dropped:
            transfer.complete()
        return may_go_on

    def _answer(self, request: SimulatedRequest) -> Answer:
        claims = self._faults.claims_for(request)
        published = self._upstream.find(request.site, request.path)
        if published and self._codes_index and accepts_gzip(request):
            published = gzip_coded(published)
        return answer(request, published, claims, now=time.time())


def _bound_socket(host: str, port: int, *, shares: bool = True) -> socket.socket:
    """Bind, by default so that a reserving and a listening socket can share the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets whose protocol is spelled out; without it each small
    # answer of a kept connection waits 40 ms for a delayed acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shares:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _count_nothing(_content_bytes: int) -> None:
    """Refusals are no requests for an object and are not counted."""
