"""A connection with latency: every byte arrives so much later, in order, at full rate.

Rules:
1. Bytes are delayed, not held up by each other: what is sent together arrives together.
2. Connecting costs one delay each way, as a handshake over such a line does.

Units: seconds. Runs in: benchmark.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

_PIECE_BYTES = 64 << 10


class DelayLine:
    """Listens on a free local port and forwards to `port`."""

    def __init__(self, port: int, delay_s: float) -> None:
        self._target = port
        self._delay_s = delay_s
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * self._delay_s)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        except OSError:
            pass  # either side went away; both ends are closed below
        finally:
            up_writer.close()
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            while True:
                at, piece = await pieces.get()
                await asyncio.sleep(max(0.0, at - loop.time()))
                if not piece:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(piece)
                await writer.drain()

        arriving = asyncio.ensure_future(arrive())
        try:
            while True:
                piece = await reader.read(_PIECE_BYTES)
                pieces.put_nowait((loop.time() + self._delay_s, piece))
                if not piece:
                    break
            await arriving
        finally:
            arriving.cancel()


@contextlib.contextmanager
def delayed(port: int, delay_s: float) -> Iterator[tuple[int, DelayLine]]:
    """Run a line to `port` in a thread for the length of the block; yields its port and itself."""
    line = DelayLine(port, delay_s)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(line.serve())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1]), line
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
