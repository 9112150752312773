"""Streams of one connection: windows, turns, and how each of them and the connection ends."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import socket
from pathlib import Path

from mirror.config import Config
from mirror.fill.messages import Ask, Failed
from mirror.serve.h2_connection import TURN_REQUESTS
from mirror.serve.h2_stream import TURN_BYTES
from mirror.serve.h2_streams import LINGER_S
from tests.http2_client import (
    ALL_STREAMS,
    Codes,
    Peer,
    Setting,
)
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_TARGET,
    Bench,
    config_with,
    parse_answer,
    running_worker,
)
from tests.unit.serve.flights import CONTENT, Flight
from tests.unit.serve.h2_client import (
    DEADLINE_S,
    LARGE,
    PREFACE,
    SMALL,
    WIDE,
    Client,
    assert_whole,
    connected,
    keep_both,
    until,
)

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
            await until(lambda: "paused" in repr(bench.worker.connections))
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
            gc.collect()  # what earlier tests dropped is closed now, not between two looks
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


async def test_stream_whose_window_was_opened_waits_for_its_fill(tmp_path: Path) -> None:
    """The client has done its part: from then on it is the mirror that is late."""
    async with running_worker(tmp_path, config_with(write_timeout=10.0)) as bench:
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 1000})
        async with connected(bench, peer) as client:
            stream_id = peer.ask(CRATE_TARGET)
            peer.stalled.add(stream_id)
            client.send()
            await until(lambda: bool(flight.bodies))
            flight.land(1000)
            await client.until(lambda: len(peer.responses[stream_id].content) == 1000)
            await until(lambda: "1 held" in repr(h2_connection(bench)))
            peer.stalled.clear()
            peer.grant(stream_id, 1000)
            client.send()
            await until(lambda: "0 held" in repr(h2_connection(bench)))
            bench.clock.advance(11)
            bench.worker.tick()
            flight.verify()
            await client.until(lambda: peer.are_over)
            assert_whole(peer.responses[stream_id], CONTENT)


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
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 0})
        async with connected(bench, peer) as client:
            stream_id = peer.ask(INDEX_TARGET)  # its stream stays open, so it is not idle
            await client.until(lambda: peer.responses[stream_id].status == 200)
            received = await bench.exchange(PREFACE)
            assert parse_answer(received).status == 503


async def test_idle_connection_says_goodbye_to_make_room_for_another(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(max_connections=1)) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            assert_whole(await client.get(INDEX_TARGET), SMALL)
            answer = await bench.get(INDEX_TARGET)
            assert (answer.status, answer.content) == (200, SMALL)
            await client.until_closed()
            assert client.peer.goaways == [(Codes.NO_ERROR, 1)]


async def test_more_requests_than_fit_a_turn_are_all_answered(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            await client.get(INDEX_TARGET)  # the dynamic table is given up
            asked = [client.peer.responses[client.peer.ask(INDEX_TARGET)] for _ in range(100)]
            assert len(asked) > 3 * TURN_REQUESTS
            client.send()
            await client.until(lambda: all(response.is_over for response in asked))
            for response in asked:
                assert_whole(response, SMALL)
