"""A TCP proxy that spoils connections: between mirror and upstream, or client and mirror.

Rules:
1. `faults` may be replaced at any time; a connection keeps the value it was accepted with.
2. Offsets count the bytes of one connection in the direction towards the client.
3. `corrupt_after` finds its place by content: the byte that follows the marker is changed, at each
   occurrence. It works on connections that carry several answers, and on head fields. `cut_at` is
   cut right after in the same way, `cuts` times in all.
4. A fault limited by `connections_spoiled` spares every connection after that many.

Units: bytes, milliseconds. Does not: understand what passes through.
Runs in: tests, demo, benchmarks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mirror.simulator.sending import close

_PIECE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpFaults:
    """What happens to connections; the default passes everything."""

    latency_ms: int = 0  # added once per piece, in both directions
    bytes_per_s: int = 0  # towards the client; 0: as fast as it goes
    cut_after: int = -1  # close after this many bytes towards the client
    cut_how: str = "fin"  # or "rst"
    corrupt_at: int = -1  # flip every bit of this byte towards the client
    corrupt_after: bytes = b""  # change the byte that follows these bytes towards the client
    cut_at: bytes = b""  # close after these bytes towards the client
    cuts: int = 1
    corrupt_bits: int = 0xFF  # which bits of a byte are flipped; 1 makes a digit another digit
    refuse: bool = False  # reset as soon as accepted
    connections_spoiled: int = 0  # 0: all


@dataclass(slots=True)
class ProxyCounts:
    """What passed, and what was done to it."""

    connections: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0
    cut: int = 0
    corrupted: int = 0
    refused: int = 0


class TcpProxy:
    """Listens on a free local port and forwards to one address."""

    def __init__(
        self,
        host: str,
        port: int,
        faults: TcpFaults | None = None,
        *,
        on_request: Callable[[bytes], None] | None = None,
    ) -> None:
        """`on_request` is shown each piece that goes to the server."""
        self._on_request = on_request
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults = faults or TcpFaults()
        self.counts = ProxyCounts()

    @property
    def port(self) -> int:
        if self._server is None:
            raise RuntimeError("the proxy does not listen")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def aclose(self) -> None:
        """Stop listening and end every connection."""
        if self._server:
            self._server.close()
        await self.end_connections()

    async def end_connections(self) -> None:
        """End every connection, so that those which follow have the faults of the moment."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: Python 3.11 logs an error when a task of asyncio's is cancelled.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        faults = self._faults_for_next()
        if faults.refuse:
            self.counts.refused += 1
            close(writer, "rst")
            return
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        except OSError:
            close(writer, "rst")
            return
        try:
            await self._both_ways(
                _Pipe(reader, upstream_writer), _Pipe(upstream_reader, writer), faults
            )
        finally:
            upstream_writer.close()
            writer.close()

    def _faults_for_next(self) -> TcpFaults:
        faults = self.faults
        limit = faults.connections_spoiled
        spares = limit and self.counts.connections >= limit
        self.counts.connections += 1
        return TcpFaults() if spares else faults

    async def _both_ways(self, up: _Pipe, down: _Pipe, faults: TcpFaults) -> None:
        """Forward until the server's direction ends; the client's end alone is a half-close."""
        sending = asyncio.ensure_future(self._to_server(up, faults))
        try:
            await self._to_client(down, faults)
        except ConnectionError:
            close(down.writer, "rst")
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _to_server(self, pipe: _Pipe, faults: TcpFaults) -> None:
        while piece := await pipe.reader.read(_PIECE_BYTES):
            await asyncio.sleep(faults.latency_ms / 1000)
            self.counts.bytes_to_server += len(piece)
            if self._on_request:
                self._on_request(piece)
            pipe.writer.write(piece)
            await pipe.writer.drain()
        if pipe.writer.can_write_eof():
            pipe.writer.write_eof()

    async def _to_client(self, pipe: _Pipe, faults: TcpFaults) -> None:
        offset, seen = 0, b""
        # A slow connection moves in pieces of a twentieth of a second.
        limit = max(faults.bytes_per_s // 20, 1) if faults.bytes_per_s else _PIECE_BYTES
        while piece := await pipe.reader.read(min(limit, _PIECE_BYTES)):
            await asyncio.sleep(faults.latency_ms / 1000)
            cut = self._cut(piece, seen, offset, faults)
            piece, seen = self._corrupted_after_marker(piece[:cut], seen, faults)
            piece = self._corrupted(piece, faults.corrupt_at - offset, faults)
            pipe.writer.write(piece)
            await pipe.writer.drain()
            offset += len(piece)
            self.counts.bytes_to_client += len(piece)
            if cut is not None:
                self.counts.cut += 1
                close(pipe.writer, faults.cut_how)
                return
            if faults.bytes_per_s:
                await asyncio.sleep(len(piece) / faults.bytes_per_s)

    def _cut(self, piece: bytes, seen: bytes, offset: int, faults: TcpFaults) -> int | None:
        """Return how much of `piece` still goes out when the connection is to be cut in it."""
        if 0 <= faults.cut_after <= offset + len(piece):
            return faults.cut_after - offset
        if faults.cut_at and self.counts.cut < faults.cuts:
            start = (seen + piece).find(faults.cut_at)
            if start >= 0:
                return max(start + len(faults.cut_at) - len(seen), 0)
        return None

    def _corrupted(self, piece: bytes, spot: int, faults: TcpFaults) -> bytes:
        if not 0 <= spot < len(piece):
            return piece
        self.counts.corrupted += 1
        return piece[:spot] + bytes([piece[spot] ^ faults.corrupt_bits]) + piece[spot + 1 :]

    def _corrupted_after_marker(
        self, piece: bytes, seen: bytes, faults: TcpFaults
    ) -> tuple[bytes, bytes]:
        """Return the spoiled piece, and the true bytes that a marker may have begun with."""
        marker, true = faults.corrupt_after, seen + piece
        start = true.find(marker) if marker else -1
        while start >= 0:
            piece = self._corrupted(piece, start + len(marker) - len(seen), faults)
            start = true.find(marker, start + 1)
        longest = max(len(marker), len(faults.cut_at))
        return piece, true[-longest:] if longest else b""


@dataclass(frozen=True, slots=True)
class _Pipe:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
