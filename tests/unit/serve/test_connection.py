"""One connection: pipelining, splits, deadlines, the end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

from mirror.fill.messages import Ask, Failed
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.test_head_parser import CARGO_TLS_HEAD
from tests.unit.serve.test_raw_requests import no_connection_left

CONTENT = b'{"name":"serde"}\n'
BIG = bytes(range(256)) * 1024  # 256 KiB: sent from its file
PLAIN = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
BIG_GET = f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
CONDITIONAL = PLAIN[:-2] + b"If-None-Match: *\r\n\r\n"
MISSING = b"GET /nothing HTTP/1.1\r\nHost: m\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n"
PIPELINE = CARGO_TLS_HEAD + PLAIN + CONDITIONAL + PLAIN + MISSING + BIG_GET + PLAIN + LAST
STATUSES = [200, 200, 304, 200, 404, 200, 200, 200]


class SocketTransport(asyncio.Transport):
    """A transport over one end of a pair, so that the test decides what arrives when."""

    def __init__(self) -> None:
        super().__init__()
        self._near, self._far = socket.socketpair()
        self._far.setblocking(False)
        self._near.setblocking(False)

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._near if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (0, None)

    def received(self) -> bytes:
        received = b""
        with contextlib.suppress(BlockingIOError):
            while piece := self._far.recv(1 << 20):
                received += piece
        return received

    def abort(self) -> None:
        raise AssertionError("aborted")

    def close(self) -> None:
        self._near.close()
        self._far.close()


def keep_both(bench: Bench) -> None:
    bench.reader.keep(INDEX_KEY, CONTENT)
    bench.reader.keep(CRATE_KEY, BIG)


def statuses(received: bytes) -> list[int]:
    found = []
    while received:
        answer = parse_answer(received)
        assert answer.is_complete
        found.append(answer.status)
        received = answer.rest
    return found


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        assert statuses(await bench.exchange(PIPELINE)) == STATUSES
        assert statuses(await bench.exchange(PIPELINE)) == STATUSES  # heads learned by now


async def test_pipeline_split_at_any_byte_gives_the_same_answers(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        for cut in range(1, len(PIPELINE)):
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
            writer.write(PIPELINE[:cut])
            await asyncio.sleep(0.0005)
            writer.write(PIPELINE[cut:])
            received = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            assert (cut, statuses(received)) == (cut, STATUSES)


async def test_pipeline_byte_by_byte_gives_the_same_answers(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        for at in range(len(PIPELINE)):
            writer.write(PIPELINE[at : at + 1])
            await asyncio.sleep(0)
        assert statuses(await asyncio.wait_for(reader.read(), 5)) == STATUSES
        writer.close()


async def test_long_pipeline_is_answered_whole(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(PLAIN * 5000 + LAST)
        received = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert statuses(received) == [200] * 5001


async def test_later_request_never_overtakes_a_long_pipeline(tmp_path: Path) -> None:
    """More is pipelined than one turn answers; what comes before the next turn must wait."""
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        bench.reader.keep("index:/to/ki/tokio", b"last\n")
        last = PLAIN.replace(b"/se/rd/serde", b"/to/ki/tokio")
        assert statuses(await bench.exchange(PLAIN + last)) == [200, 200]  # both heads learned
        transport = SocketTransport()
        connection = bench.worker.connect()
        connection.connection_made(transport)
        connection.data_received(PLAIN * 100)
        connection.data_received(last)
        await asyncio.sleep(0.01)
        received = transport.received()
        connection.connection_lost(None)
        transport.close()
        contents = []
        while received:
            answer = parse_answer(received)
            contents.append(answer.content)
            received = answer.rest
        assert contents == [CONTENT] * 100 + [b"last\n"]


async def test_client_that_reads_nothing_stops_being_answered(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, b"x" * 60_000)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, limit=1)
        writer.write(PLAIN * 2000)
        await asyncio.sleep(0.3)
        bench.worker.accounts.settle()
        answered = len(bench.keeper.used_keys)
        assert 0 < answered < 2000  # 120 MB would be owed
        for _ in range(3):
            bench.clock.advance(61)
            bench.worker.tick()
        await no_connection_left(bench)
        writer.close()
        assert reader is not None


async def test_empty_line_before_a_request_is_ignored(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        received = await bench.exchange(PLAIN + b"\r\n" + PLAIN + b"\r\n" + LAST)
        assert statuses(received) == [200, 200, 200]


async def test_head_request_has_the_fields_and_no_content(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        for target, length in ((INDEX_TARGET, len(CONTENT)), (CRATE_TARGET, len(BIG))):
            answer = await bench.get(target, "Range: bytes=0-0", method="HEAD")
            assert (answer.status, answer.rest) == (200, b"")
            assert answer.fields["content-length"] == str(length)


async def test_http10_is_closed_or_kept_as_it_asks(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        closed = await bench.exchange(f"GET {INDEX_TARGET} HTTP/1.0\r\n\r\n".encode() + PLAIN)
        assert statuses(closed) == [200]
        assert parse_answer(closed).fields["connection"] == "close"
        kept = f"GET {INDEX_TARGET} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode()
        received = await bench.exchange(kept + LAST)
        assert statuses(received) == [200, 200]
        assert parse_answer(received).fields["connection"] == "keep-alive"


async def test_half_closed_client_gets_its_answers(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(BIG_GET + PLAIN)
        writer.write_eof()
        assert statuses(await asyncio.wait_for(reader.read(), 5)) == [200, 200]
        writer.close()


async def test_large_content_arrives_whole(tmp_path: Path) -> None:
    content = bytes(range(251)) * 80_000  # 20 MB, no period of a window
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, content)
        for _ in range(2):
            answer = await bench.get(CRATE_TARGET)
            assert answer.content == content
        learned = parse_answer(await bench.exchange(BIG_GET))
        assert learned.content == content


async def test_slow_reader_gets_everything(tmp_path: Path) -> None:
    content = bytes(range(251)) * 40_000
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, content)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, limit=4096)
        writer.write(BIG_GET[:-2] + b"Connection: close\r\n\r\n")
        received = bytearray()
        while piece := await reader.read(30_000):
            received += piece
            if len(received) % 7 == 0:
                await asyncio.sleep(0.001)
        writer.close()
        assert parse_answer(bytes(received)).content == content


async def test_slow_head_is_answered_408_at_its_deadline(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(PLAIN[:10])
        await asyncio.sleep(0.05)
        for _ in range(6):  # a byte now and then must not move the deadline
            bench.clock.advance(2)
            bench.worker.tick()
            writer.write(b"X")
            await asyncio.sleep(0.01)
        answer = parse_answer(await asyncio.wait_for(reader.read(), 2))
        writer.close()
        assert answer.status == 408


async def test_silent_connection_is_closed_at_the_head_deadline(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        await asyncio.sleep(0.05)
        bench.clock.advance(9)
        bench.worker.tick()
        assert "1 connections" in repr(bench.worker)
        bench.clock.advance(2)
        bench.worker.tick()
        await no_connection_left(bench)
        writer.close()
        assert reader is not None


async def test_idle_connection_is_closed_at_its_own_deadline(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(PLAIN)
        assert statuses(await read_all(reader, 0.1)) == [200]
        bench.clock.advance(70)
        bench.worker.tick()
        writer.write(PLAIN)
        assert statuses(await read_all(reader, 0.1)) == [200]
        bench.clock.advance(74)
        bench.worker.tick()
        assert "1 connections" in repr(bench.worker)
        bench.clock.advance(2)
        bench.worker.tick()
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()


async def test_waiting_for_the_keeper_has_no_deadline_here(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        answered = asyncio.Event()

        async def script(_: Ask) -> Failed:
            await answered.wait()
            return Failed(status=404, reason="no")

        bench.keeper.script = script
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(PLAIN[:-2] + b"Connection: close\r\n\r\n")
        while not bench.keeper.asked:
            await asyncio.sleep(0.001)
        bench.clock.advance(600)
        bench.worker.tick()
        answered.set()
        assert statuses(await asyncio.wait_for(reader.read(), 2)) == [404]
        writer.close()


async def test_client_that_leaves_cancels_its_wait(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        cancelled = asyncio.Event()

        async def script(_: Ask) -> Failed:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError

        bench.keeper.script = script
        _, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(PLAIN)
        while not bench.keeper.asked:
            await asyncio.sleep(0.001)
        client = writer.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await asyncio.wait_for(cancelled.wait(), 2)


async def test_tick_beats_and_acknowledges_the_epoch(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.clock.advance(5)
        bench.page.bump_epoch()
        bench.worker.tick()
        assert bench.page.heartbeat(1) == 1_005_000
        assert bench.page.seen_epoch(1) == bench.page.epoch
