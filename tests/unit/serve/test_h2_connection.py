"""HTTP/2 over real sockets, with the `h2` library as the client."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mirror.config import Config, Http2
from mirror.fill.messages import Ask, Failed
from mirror.serve.h2_connection import FIRST_TURN_BYTES
from mirror.serve.h2_stream import TURN_BYTES
from mirror.serve.h2_streams import LINGER_S
from tests.http2_client import (
    ALL_STREAMS,
    Codes,
    Peer,
    Received,
    Setting,
    settings_value,
    upgrade_request,
)
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    config_with,
    parse_answer,
    read_all,
    running_worker,
)

SMALL = b"small content\n" * 20
LARGE = os.urandom(700_001)
DEADLINE_S = 5.0
LIBCURL_TAKES_BYTES = 32_768  # behind a 101, in one read; else the transfer fails
WIDE = {Setting.INITIAL_WINDOW_SIZE: 1 << 20}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Client:
    """A `Peer` on a socket of its own."""

    def __init__(
        self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.peer = peer
        self.reader = reader
        self.writer = writer
        self.is_closed = False  # by the server

    def send(self) -> None:
        self.writer.write(self.peer.take())

    async def until(self, claim: Callable[[], bool]) -> None:
        """Talk to the server until `claim` holds."""
        async with asyncio.timeout(DEADLINE_S):
            self.send()
            while not claim():
                data = await self.reader.read(1 << 16)
                if not data:
                    self.is_closed = True
                    assert claim(), f"closed: {self.peer.responses} {self.peer.goaways}"
                self.peer.receive(data)
                self.send()

    async def get(self, path: str, *fields: tuple[str, str], method: str = "GET") -> Received:
        response = self.peer.responses[self.peer.ask(path, fields, method=method)]
        await self.until(lambda: response.is_over)
        return response

    async def until_closed(self) -> None:
        """Read to the end that the server makes."""
        async with asyncio.timeout(DEADLINE_S):
            while data := await self.reader.read(1 << 16):
                self.peer.receive(data)
        self.is_closed = True


@asynccontextmanager
async def connected(bench: Bench, peer: Peer | None = None) -> AsyncIterator[Client]:
    """A client that has begun by prior knowledge."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    client = Client(peer or Peer(), reader, writer)
    client.peer.begin()
    client.send()
    try:
        yield client
    finally:
        writer.close()


def keep_both(bench: Bench) -> None:
    bench.reader.keep(INDEX_KEY, SMALL)
    bench.reader.keep(CRATE_KEY, LARGE)


def assert_whole(response: Received, content: bytes) -> None:
    assert (response.status, response.is_complete, response.reset_code) == (200, True, None)
    assert response.content == content


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not claim():
            await asyncio.sleep(0.001)


# How it begins.


async def test_prior_knowledge_is_answered_by_http2(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            response = await client.get(INDEX_TARGET)
            assert_whole(response, SMALL)
            assert response.fields["content-length"] == str(len(SMALL))
            assert response.fields["cache-status"] == "rust-mirror; hit"
            assert "connection" not in response.fields
            assert_whole(await client.get(CRATE_TARGET), LARGE)


async def test_preface_with_much_behind_it_leaves_the_connection_reading(tmp_path: Path) -> None:
    """More than a head's worth in one read: HTTP/1.1 would stop reading there."""
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        client = Client(Peer(), reader, writer)
        client.peer.begin()
        for _ in range(80):
            client.peer.ask(INDEX_TARGET, [("user-agent", "x" * 400)])
        await client.until(lambda: client.peer.are_over)
        assert_whole(await client.get(INDEX_TARGET), SMALL)
        writer.close()


async def test_preface_in_single_bytes_is_met(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        client = Client(Peer(), reader, writer)
        client.peer.begin()
        response = client.peer.responses[client.peer.ask(INDEX_TARGET)]
        for byte in client.peer.take():
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        await client.until(lambda: response.is_over)
        assert_whole(response, SMALL)
        writer.close()


@pytest.mark.parametrize("cut", range(1, 5))
async def test_http1_request_that_begins_like_the_preface_is_read_as_one(
    cut: int, tmp_path: Path
) -> None:
    async with running_worker(tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(PREFACE[:cut])
        await asyncio.sleep(0)
        writer.write(b"X" + b" / HTTP/1.1\r\nHost: m\r\n\r\n")
        assert parse_answer(await read_all(reader, 0.1)).status in (400, 501)
        writer.close()


async def test_upgrade_is_answered_101_and_then_on_stream_1(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        client = Client(Peer(), reader, writer)
        value = client.peer.begin_upgraded()
        # Sent at once: what stands behind the request is HTTP/2 already.
        later = client.peer.ask(CRATE_TARGET)
        writer.write(upgrade_request(INDEX_TARGET, value) + client.peer.take())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head == (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        )
        await client.until(lambda: client.peer.are_over)
        assert_whole(client.peer.responses[1], SMALL)
        assert_whole(client.peer.responses[later], LARGE)
        writer.close()


async def test_settings_of_an_upgrade_hold_for_its_response(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 1000})
        peer.is_stalled = True
        client = Client(peer, reader, writer)
        value = peer.begin_upgraded()
        writer.write(upgrade_request(CRATE_TARGET, value))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        await client.until(lambda: len(peer.responses[1].content) == 1000)
        peer.grant(1, 500)
        await client.until(lambda: len(peer.responses[1].content) == 1500)
        writer.close()


async def test_upgraded_client_reads_no_more_than_libcurl_takes_before_it_speaks(
    tmp_path: Path,
) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        client = Client(Peer(settings=WIDE), reader, writer)
        value = client.peer.begin_upgraded()
        writer.write(upgrade_request(CRATE_TARGET, value))
        first = await read_all(reader, quiet_s=0.1)
        switching, _, frames = first.partition(b"\r\n\r\n")
        assert b" 101 " in switching
        assert FIRST_TURN_BYTES < len(frames) < LIBCURL_TAKES_BYTES
        client.peer.receive(frames)
        await client.until(lambda: client.peer.are_over)
        assert_whole(client.peer.responses[1], LARGE)
        writer.close()


UPGRADE = settings_value((3, 100), (4, 65_536))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(upgrade_request(INDEX_TARGET, b"!!"), 200, id="not-base64"),
        pytest.param(upgrade_request(INDEX_TARGET, b"AAMA"), 200, id="half-a-setting"),
        pytest.param(upgrade_request(INDEX_TARGET, b"A"), 200, id="one-digit"),
        pytest.param(
            upgrade_request(INDEX_TARGET, settings_value((4, 1 << 31))), 200, id="window-too-large"
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE, f"HTTP2-Settings: {UPGRADE.decode()}"),
            200,
            id="two-settings-fields",
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE).replace(b"Upgrade, HTTP2", b"HTTP2"),
            200,
            id="connection-without-upgrade",
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE).replace(b", HTTP2-Settings\r", b"\r"),
            200,
            id="connection-without-settings",
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE).replace(b": h2c", b": websocket"),
            200,
            id="another-protocol",
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE).replace(b"HTTP/1.1", b"HTTP/1.0"),
            200,
            id="http-1.0",
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE, "Content-Length: 4") + b"abcd", 400, id="content"
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE).replace(b"GET", b"POST"), 405, id="post"
        ),
    ],
)
async def test_upgrade_that_is_not_right_is_answered_by_http1(
    request_bytes: bytes, status: int, tmp_path: Path
) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        assert parse_answer(await bench.exchange(request_bytes)).status == status


async def test_upgrade_is_taken_also_when_the_same_request_was_answered_before(
    tmp_path: Path,
) -> None:
    """A head that asks for an upgrade is never learned by the memo."""
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        for _ in range(3):
            received = await bench.exchange(upgrade_request(INDEX_TARGET, UPGRADE))
            assert received.startswith(b"HTTP/1.1 101 ")


async def test_http2_that_is_switched_off_is_not_spoken(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(http2=Http2(enabled=False))) as bench:
        keep_both(bench)
        request = upgrade_request(INDEX_TARGET, UPGRADE)
        for _ in range(2):
            assert parse_answer(await bench.exchange(request)).status == 200
        assert (await bench.exchange(PREFACE)).startswith(b"HTTP/1.1 ")


# Requests and responses.


async def test_streams_are_answered_each_for_itself(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            peer = client.peer
            small = [peer.ask(INDEX_TARGET) for _ in range(40)]
            absent = peer.ask("/no-such-path")
            post = peer.ask(INDEX_TARGET, method="POST")
            head = peer.ask(CRATE_TARGET, method="HEAD")
            part = peer.ask(CRATE_TARGET, [("range", "bytes=-100")])
            await client.until(lambda: peer.are_over)
            for stream_id in small:
                assert_whole(peer.responses[stream_id], SMALL)
            assert peer.responses[absent].status == 404
            assert peer.responses[absent].is_complete
            assert peer.responses[absent].content.endswith(b"\n")
            assert peer.responses[post].status == 405
            assert peer.responses[head].fields["content-length"] == str(len(LARGE))
            assert peer.responses[head].content == b""
            assert peer.responses[part].status == 206
            assert peer.responses[part].content == LARGE[-100:]


async def test_not_modified_has_no_content(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            tag = (await client.get(INDEX_TARGET)).fields["etag"]
            response = await client.get(INDEX_TARGET, ("if-none-match", tag))
            assert (response.status, bytes(response.content)) == (304, b"")


async def test_misses_are_asked_of_the_keeper_at_the_same_time(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        go_on = asyncio.Event()

        async def script(_: Ask) -> Failed:
            await go_on.wait()
            return Failed(status=404, reason="no")

        bench.keeper.script = script
        async with connected(bench) as client:
            for number in range(30):
                client.peer.ask(f"/index/to/ki/tokio{number}")
            client.send()
            await until(lambda: len(bench.keeper.asked) == 30)
            go_on.set()
            await client.until(lambda: client.peer.are_over)
            assert {response.status for response in client.peer.responses.values()} == {404}


async def test_large_field_list_is_answered_431(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            response = await client.get(INDEX_TARGET, ("x-a", "a" * 17_000))
            assert (response.status, response.is_complete) == (431, True)
            assert_whole(await client.get(INDEX_TARGET), SMALL)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("connection", "close")], id="connection-field"),
        pytest.param([("X-Upper", "1")], id="upper-case-name"),
        pytest.param([("te", "gzip")], id="te"),
        pytest.param([("content-length", "5")], id="content-that-does-not-come"),
    ],
)
async def test_malformed_request_is_reset_and_not_answered(
    fields: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            client.peer.h2.config.validate_outbound_headers = False
            client.peer.h2.config.normalize_outbound_headers = False
            response = await client.get(INDEX_TARGET, *fields)
            assert (response.status, response.reset_code) == (0, Codes.PROTOCOL_ERROR)
            assert_whole(await client.get(INDEX_TARGET), SMALL)


async def test_authority_that_is_no_host_name_is_refused(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench, Peer(authority="a..b")) as client:
            assert (await client.get(INDEX_TARGET)).status == 400


async def test_request_content_is_refused_and_the_rest_not_wanted(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            peer = client.peer
            sending = peer.ask(INDEX_TARGET, ends=False)
            peer.h2.send_data(sending, b"content")
            announced = peer.ask(INDEX_TARGET, [("content-length", "5")], ends=False)
            empty = peer.ask(INDEX_TARGET, ends=False)
            peer.h2.end_stream(empty)
            await client.until(
                lambda: (
                    {peer.responses[number].reset_code for number in (sending, announced)}
                    == {Codes.NO_ERROR}
                )
            )
            for stream_id in (sending, announced):
                response = peer.responses[stream_id]
                assert (response.status, response.is_complete) == (400, True)
            await client.until(lambda: peer.responses[empty].is_over)
            assert_whole(peer.responses[empty], SMALL)


# Flow control and turns.


async def test_small_windows_still_bring_all_of_a_large_response(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 5_000})
        async with connected(bench, peer) as client:
            assert_whole(await client.get(CRATE_TARGET), LARGE)
            assert max(size for _, size in peer.arrivals) <= 5_000


async def test_stalled_stream_does_not_stop_its_neighbours(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 20_000})
        async with connected(bench, peer) as client:
            stalled = peer.ask(CRATE_TARGET)
            peer.stalled.add(stalled)
            await client.until(lambda: len(peer.responses[stalled].content) == 20_000)
            assert_whole(await client.get(CRATE_TARGET), LARGE)
            assert len(peer.responses[stalled].content) == 20_000
            peer.stalled.clear()
            peer.grant(stalled, 20_000)
            await client.until(lambda: peer.are_over)
            assert_whole(peer.responses[stalled], LARGE)


async def test_large_responses_take_turns_and_small_ones_do_not_wait(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        peer = Peer(settings=WIDE)
        async with connected(bench, peer) as client:
            peer.h2.increment_flow_control_window(1 << 24)
            large = [peer.ask(CRATE_TARGET) for _ in range(4)]
            small = peer.ask(INDEX_TARGET)
            await client.until(lambda: peer.are_over)
            for stream_id in large:
                assert_whole(peer.responses[stream_id], LARGE)
            came = dict.fromkeys((*large, small), 0)
            for stream_id, size in peer.arrivals:
                came[stream_id] += size
                going = [came[number] for number in large if came[number] < len(LARGE)]
                if len(going) == len(large):
                    assert max(going) - min(going) <= 2 * TURN_BYTES
            first_of_small = next(
                at for at, (stream_id, _) in enumerate(peer.arrivals) if stream_id == small
            )
            before = sum(size for _, size in peer.arrivals[:first_of_small])
            assert before <= len(large) * TURN_BYTES


async def test_stored_small_response_waits_for_a_window_of_zero(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 0})
        async with connected(bench, peer) as client:
            stream_id = peer.ask(INDEX_TARGET)
            await client.until(lambda: peer.responses[stream_id].status == 200)
            assert not peer.responses[stream_id].is_over
            peer.h2.increment_flow_control_window(len(SMALL), stream_id)
            await client.until(lambda: peer.are_over)
            assert_whole(peer.responses[stream_id], SMALL)


async def test_client_that_reads_nothing_of_the_socket_gets_all_of_it_later(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        content = os.urandom(12_000_000)
        bench.reader.keep(CRATE_KEY, content)
        huge = (1 << 31) - 1
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: huge})
        async with connected(bench, peer) as client:
            peer.h2.increment_flow_control_window(huge - 65_535)
            first, second = peer.ask(CRATE_TARGET), peer.ask(CRATE_TARGET)
            client.send()
            await until(lambda: "paused" in repr(h2_connection(bench)))
            await client.until(lambda: peer.are_over)
            for stream_id in (first, second):
                digest = hashlib.sha256(peer.responses[stream_id].content).digest()
                assert digest == hashlib.sha256(content).digest()


def h2_connection(bench: Bench) -> object:
    [connection] = bench.worker.connections
    return connection


# Ends.


async def test_reset_in_mid_response_lets_everything_go(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 1000})
        async with connected(bench, peer) as client:
            fds = len(os.listdir("/proc/self/fd"))
            stream_id = peer.ask(CRATE_TARGET)
            peer.stalled.add(stream_id)
            await client.until(lambda: len(peer.responses[stream_id].content) == 1000)
            assert len(os.listdir("/proc/self/fd")) == fds + 1
            peer.h2.reset_stream(stream_id, Codes.CANCEL)
            client.send()
            await until(lambda: "0 streams" in repr(h2_connection(bench)))
            assert len(os.listdir("/proc/self/fd")) == fds
            assert_whole(await client.get(INDEX_TARGET), SMALL)


async def test_client_that_leaves_cancels_what_it_asked_for(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        cancelled = asyncio.Event()

        async def script(_: Ask) -> Failed:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            raise AssertionError

        bench.keeper.script = script
        async with connected(bench) as client:
            client.peer.ask("/dist/2026-01-01/rust-1.0.0-x86_64-unknown-linux-gnu.tar.gz")
            client.send()
            await until(lambda: bool(bench.keeper.asked))
        await asyncio.wait_for(cancelled.wait(), DEADLINE_S)


async def test_stream_whose_window_is_never_opened_is_reset(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(write_timeout=10.0)) as bench:
        keep_both(bench)
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 1000})
        async with connected(bench, peer) as client:
            stalled = peer.ask(CRATE_TARGET)
            peer.stalled.add(stalled)
            await client.until(lambda: len(peer.responses[stalled].content) == 1000)
            await until(lambda: "1 held" in repr(h2_connection(bench)))
            bench.clock.advance(11)
            bench.worker.tick()
            await client.until(lambda: peer.responses[stalled].is_over)
            assert peer.responses[stalled].reset_code == Codes.CANCEL
            assert_whole(await client.get(INDEX_TARGET), SMALL)


async def test_idle_connection_is_told_goodbye(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            assert_whole(await client.get(INDEX_TARGET), SMALL)
            bench.clock.advance(80)
            bench.worker.tick()
            await client.until_closed()
            assert client.peer.goaways == [(Codes.NO_ERROR, 1)]


async def test_client_that_never_sends_its_settings_is_cut(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(PREFACE)
        await until(lambda: "H2Connection" in repr(bench.worker.connections))
        bench.clock.advance(11)
        bench.worker.tick()
        received = await asyncio.wait_for(reader.read(), DEADLINE_S)
        assert received[3:4] == b"\x04"  # SETTINGS
        writer.close()


async def test_request_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            open_id = client.peer.ask(INDEX_TARGET, ends=False)
            assert_whole(await client.get(INDEX_TARGET), SMALL)
            bench.clock.advance(11)
            bench.worker.tick()
            response = client.peer.responses[open_id]
            await client.until(lambda: response.is_over)
            assert (response.status, response.reset_code) == (0, Codes.CANCEL)


async def test_drain_says_goodbye_twice_and_answers_what_was_on_its_way(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        go_on = asyncio.Event()

        async def script(_: Ask) -> Failed:
            await go_on.wait()
            return Failed(status=404, reason="no")

        bench.keeper.script = script
        async with connected(bench) as client:
            peer = client.peer
            slow = peer.ask("/index/to/ki/tokio")
            await client.until(lambda: bool(bench.keeper.asked))
            bench.stop.set()
            async with asyncio.timeout(DEADLINE_S):
                while not peer.goaways:
                    peer.receive(await client.reader.read(1 << 16))
            assert peer.goaways == [(Codes.NO_ERROR, ALL_STREAMS)]
            # Sent before the PING is answered: it was on its way.
            late = peer.ask(INDEX_TARGET)
            await client.until(lambda: len(peer.goaways) == 2)
            assert peer.goaways[1] == (Codes.NO_ERROR, late)
            assert_whole(peer.responses[late], SMALL)
            go_on.set()
            await client.until(lambda: peer.responses[slow].is_over)
            assert peer.responses[slow].status == 404
            await client.until_closed()
            client.writer.close()
            await asyncio.wait_for(asyncio.wait([bench.running]), DEADLINE_S)


async def test_drain_does_not_wait_for_an_idle_connection(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            assert_whole(await client.get(INDEX_TARGET), SMALL)
            bench.stop.set()
            await client.until(lambda: len(client.peer.goaways) == 2)
            await client.until_closed()
            # It discards what this client may still send, but not for long.
            await until(lambda: has_ended_when_looked_at_again(bench))


def has_ended_when_looked_at_again(bench: Bench) -> bool:
    """The client's kernel acknowledges in its own time, which is not the worker's clock."""
    bench.clock.advance(LINGER_S + 0.1)
    bench.worker.tick()
    return bench.running.done()


async def test_end_of_a_drain_resets_nothing_that_a_slow_client_has_not_read(
    tmp_path: Path,
) -> None:
    """It sends window updates meanwhile: a socket that is closed would answer them with RST."""
    async with running_worker(tmp_path) as bench:
        content = os.urandom(1_500_000)
        bench.reader.keep(CRATE_KEY, content)
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 1 << 22})
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", bench.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        client = Client(peer, reader, writer)
        peer.begin()
        peer.h2.increment_flow_control_window(1 << 22)
        response = peer.responses[peer.ask(CRATE_TARGET)]
        await client.until(lambda: bool(response.content))
        connection = h2_connection(bench)
        bench.stop.set()
        await until(lambda: "draining" in repr(bench.worker))
        has_closed = False
        async with asyncio.timeout(DEADLINE_S):
            while not response.is_over:
                bench.clock.advance(0.2)
                bench.worker.tick()
                has_closed |= "closing" in repr(connection)
                peer.h2.increment_flow_control_window(1)
                client.send()
                peer.receive(await reader.read(1 << 14))
                await asyncio.sleep(0.001)
        assert has_closed  # long before the client had read all
        assert_whole(response, content)
        writer.close()


async def test_broken_frame_ends_the_connection_with_its_code(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            assert_whole(await client.get(INDEX_TARGET), SMALL)
            client.writer.write(b"\x00\x00\x05\x04\x00\x00\x00\x00\x00hello")
            await client.until_closed()
            assert client.peer.goaways == [(Codes.FRAME_SIZE_ERROR, 1)]
        [fields] = [given for name, given in bench.log.events if name == "request-refused"]
        assert fields["request_line"] == "FRAME_SIZE_ERROR"


async def test_connection_beyond_the_limit_is_turned_away(tmp_path: Path) -> None:
    config: Config = config_with(max_connections=1)
    async with running_worker(tmp_path, config) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            assert_whole(await client.get(INDEX_TARGET), SMALL)
            received = await bench.exchange(PREFACE)
            assert parse_answer(received).status == 503
