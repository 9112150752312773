"""What clients can make one worker hold, measured: whatever they do, it is little for each of them.

Each test lets many clients be owed as much as they can ask for, and read none of it; then asks for
something beside them, and lets them go. Streams that are reset are in `test_http2_abuse`.
"""

from __future__ import annotations

import gc
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import DEADLINE_S, Edge, wait_until
from tests.scenario.exchange import fetch
from tests.scenario.test_http2_abuse import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    OPENING,
    block,
    frame,
)
from tests.scenario.upstream_objects import Archive, fresh_archive

SMALL_PATH = "/index/1/q"
LARGE_BYTES = 48 << 20
SPARE_FDS = 512
# Of one connection whose client reads nothing: the remainder of a window (16 KiB), the heads that
# it sent ahead (16 KiB, and what one read brings beyond), and the objects of both.
MOST_PER_CLIENT_BYTES = 64 << 10
NOISE_BYTES = 24 << 20  # a loop with thousands of sockets, and the allocator's rounding


@pytest.fixture
def roomy(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    """A mirror of one worker that has held nothing yet: what it let go of would hide a growth."""
    with Edge(tmp_path / "edge", upstream, workers=1, settings={"freshness.index": "1h"}) as edge:
        yield edge
    assert edge.own_faults() == []


@pytest.fixture
def archive(roomy: Edge) -> Archive:
    """A large object that is stored."""
    archive = fresh_archive(LARGE_BYTES)
    assert fetch(roomy.port, archive.path).status == 200
    return archive


def memory_bytes(edge: Edge) -> int:
    """What the worker has in memory now, shared files apart."""
    pid = edge.pids()["worker-0"]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = [line for line in lines if line.startswith("RssAnon:")]
    return int(found[0].split()[1]) * 1024


@contextmanager
def unread(edge: Edge, count: int, *requests: bytes) -> Iterator[None]:
    """`count` clients that have each sent `requests` as far as the mirror takes them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + SPARE_FDS:
        pytest.skip(f"{count} connections take a limit of open files above {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + SPARE_FDS), hard))
    socks: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = socket.socket()
            socks.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(DEADLINE_S)
            sock.connect(("127.0.0.1", edge.port))
            sock.setblocking(False)
            send(sock, b"".join(requests))
        for sock in socks[:: max(1, count // 20)]:
            sock.settimeout(DEADLINE_S)
            assert sock.recv(1), "what is asked for is under way"
        yield
    finally:
        for sock in socks:
            sock.close()
        gc.collect()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def send(sock: socket.socket, data: bytes) -> None:
    try:
        sock.send(data)
    except BlockingIOError:
        return


def growth_per_client_bytes(edge: Edge, count: int, *requests: bytes) -> float:
    """What each of `count` clients makes the worker hold; a good client is served meanwhile."""
    assert fetch(edge.port, SMALL_PATH).status == 200
    before_bytes = memory_bytes(edge)
    with unread(edge, count, *requests):
        # The worker has answered all of them as far as it can when it answers what comes last.
        for _ in range(3):
            assert fetch(edge.port, SMALL_PATH).status == 200
        assert open_sockets(edge) > count
        grown_bytes = memory_bytes(edge) - before_bytes
    wait_until(lambda: open_sockets(edge) < 64, "all connections are closed")
    assert grown_bytes <= NOISE_BYTES + count * MOST_PER_CLIENT_BYTES, (
        f"{grown_bytes / count:.0f} bytes for each of {count}"
    )
    return grown_bytes / count


def open_sockets(edge: Edge) -> int:
    return len(list(Path(f"/proc/{edge.pids()['worker-0']}/fd").iterdir()))


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: m", *lines, "", ""]).encode()


@pytest.mark.full
def test_slow_readers_of_a_large_object_hold_one_window_rest_each(
    roomy: Edge, archive: Archive
) -> None:
    print(growth_per_client_bytes(roomy, 5_000, get(archive.path)), "bytes per slow reader")


@pytest.mark.full
def test_thousand_pipelined_requests_hold_no_more_than_one_head_ahead(
    roomy: Edge, archive: Archive
) -> None:
    # A thousand heads of 300 bytes, sent at once: one read could bring 256 KB of them.
    requests = [get(archive.path), *[get(SMALL_PATH, f"X-Filler: {'x' * 240}")] * 1_000]
    print(growth_per_client_bytes(roomy, 1_000, *requests), "bytes per pipelining client")


@pytest.mark.full
def test_storm_of_ranges_holds_no_more_than_its_heads(roomy: Edge, archive: Archive) -> None:
    ranges = ",".join(f"{at * 4096}-{at * 4096 + 4000}" for at in range(31))
    requests = [get(archive.path, f"Range: bytes={ranges}")] * 100
    print(growth_per_client_bytes(roomy, 1_000, *requests), "bytes per client of ranges")


@pytest.mark.full
def test_streams_that_are_not_read_hold_a_reference_each(roomy: Edge, archive: Archive) -> None:
    opened = b"".join(
        frame(
            HEADERS,
            block(path=archive.path if number % 2 else SMALL_PATH),
            flags=END_STREAM | END_HEADERS,
            stream_id=2 * number + 1,
        )
        for number in range(100)
    )
    # 100 streams each: what one of them holds is an object or two and its place in the turns.
    per_client = growth_per_client_bytes(roomy, 150, OPENING, opened)
    print(per_client / 100, "bytes per stream")


@pytest.mark.full
def test_followers_of_one_growing_file_hold_little_each(
    roomy: Edge, upstream: SimulatorProcess
) -> None:
    cold = fresh_archive(LARGE_BYTES)
    print(growth_per_client_bytes(roomy, 3_000, get(cold.path)), "bytes per follower")
    assert fetch(roomy.port, cold.path).status == 200
