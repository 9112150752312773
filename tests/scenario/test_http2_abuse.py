"""HTTP/2 clients that want to cost more than they pay: each is cut, and nobody else notices.

Every attack sends `FRAMES` frames, on as many connections as it takes, at one worker.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hpack
import pytest

from mirror.simulator.process import SimulatorProcess
from tests.http2_client import Codes
from tests.scenario.edge import DEADLINE_S, Edge, wait_until
from tests.scenario.exchange import Client
from tests.scenario.upstream_objects import fresh_archive

SETTINGS = {"serve.workers": "1", "serve.write_timeout": "2s"}
FRAMES = 10_000
MAX_CPU_S = 2.0  # most floods take 0.3 s; the neighbour has its share in it, more on a busy machine
MAX_GROWTH_BYTES = 16 << 20
CHUNK_FRAMES = 250
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTING, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
)
END_STREAM, END_HEADERS = 1, 4
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream_id: int = 0) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream_id.to_bytes(4, "big") + payload


def block(*fields: tuple[str, str], path: str = "/livez") -> bytes:
    pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "m"), (":path", path)]
    encoded: bytes = hpack.Encoder().encode([*pseudo, *fields], huffman=False)
    return encoded


OPENING = PREFACE + frame(SETTING)
REQUEST = block()


def rapid_reset() -> Iterator[bytes]:
    for stream_id in range(1, 2 * FRAMES, 2):
        yield frame(HEADERS, REQUEST, flags=END_STREAM | END_HEADERS, stream_id=stream_id)
        yield frame(RST_STREAM, bytes((0, 0, 0, 8)), stream_id=stream_id)


def resets_by_the_server() -> Iterator[bytes]:
    """CVE-2025-8671: the server is made to reset the streams."""
    for stream_id in range(1, 2 * FRAMES, 2):
        yield frame(HEADERS, REQUEST, flags=END_STREAM | END_HEADERS, stream_id=stream_id)
        yield frame(WINDOW_UPDATE, bytes(4), stream_id=stream_id)


def continuations() -> Iterator[bytes]:
    yield frame(HEADERS, REQUEST, stream_id=1)
    while True:
        yield frame(CONTINUATION, b"\x00\x01a\x01b", stream_id=1)


def empty_continuations() -> Iterator[bytes]:
    yield frame(HEADERS, REQUEST, stream_id=1)
    while True:
        yield frame(CONTINUATION, stream_id=1)


def table_bomb() -> Iterator[bytes]:
    """One field of 4 KB in the dynamic table, named 4,000 times by a block of 4 KB."""
    filled = REQUEST + b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000
    yield frame(HEADERS, filled, flags=END_STREAM | END_HEADERS, stream_id=1)
    for stream_id in range(3, 2 * FRAMES, 2):
        bomb = REQUEST + b"\xbe" * 4000
        yield frame(HEADERS, bomb, flags=END_STREAM | END_HEADERS, stream_id=stream_id)


def empty_data() -> Iterator[bytes]:
    yield frame(HEADERS, REQUEST, flags=END_HEADERS, stream_id=1)
    while True:
        yield frame(DATA, stream_id=1)


def pings() -> Iterator[bytes]:
    while True:
        yield frame(PING, b"attacker")


def settings() -> Iterator[bytes]:
    while True:
        yield frame(SETTING, b"\x00\x04\x00\x00\xff\xff")


def window_updates() -> Iterator[bytes]:
    while True:
        yield frame(WINDOW_UPDATE, bytes((0, 0, 0, 1)))


def large_lists() -> Iterator[bytes]:
    """Lists of 16 KiB and more, which are answered 431, and answered, until they are too many."""
    large = block(*((f"x-{number}", "v" * 900) for number in range(17)))
    for stream_id in range(1, 2 * FRAMES, 2):
        yield frame(HEADERS, large, flags=END_STREAM | END_HEADERS, stream_id=stream_id)


@dataclass
class Neighbour:
    """Another client of the same worker, which looks at the worker's memory in between."""

    port: int
    pid: int
    statuses: list[int] = field(default_factory=list)
    peak_bytes: int = 0
    is_over: bool = False

    def run(self) -> None:
        while not self.is_over:
            with Client(self.port) as client:
                for _ in range(20):
                    self.statuses.append(client.fetch("/livez").status)
                    self.peak_bytes = max(self.peak_bytes, resident_bytes(self.pid))


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    cells = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(cells[11]) + int(cells[12])) / _TICKS_PER_S


def codes_of(received: bytes) -> list[int]:
    """Return the codes of the GOAWAY frames in what a server sent."""
    codes = []
    while len(received) >= 9:
        end = 9 + int.from_bytes(received[:3], "big")
        if received[3] == GOAWAY and len(received) >= 17:
            codes.append(int.from_bytes(received[13:17], "big"))
        received = received[end:]
    return codes


def send_until_cut(port: int, frames: Iterator[bytes], left: int) -> tuple[int, list[int]]:
    """Attack on one connection; how many frames went out, and the codes it was cut with."""
    sent, received = 0, b""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as sock:
        try:
            sock.sendall(OPENING)
            while sent < left:
                wanted = min(CHUNK_FRAMES, left - sent)
                chunk = b"".join(next(frames) for _ in range(wanted))
                at = 0
                try:
                    while at < len(chunk):
                        at += sock.send(chunk[at:])
                finally:  # cut in between: what the server's machine took was sent
                    sent += wanted * at // len(chunk)
                while select.select([sock], [], [], 0)[0]:
                    piece = sock.recv(1 << 18)
                    if not piece:  # the server has shut its side
                        return sent, codes_of(received)
                    received += piece
        except (BrokenPipeError, ConnectionResetError):
            pass
        sock.settimeout(0.2)
        try:
            while piece := sock.recv(1 << 18):
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
    return sent, codes_of(received)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(rapid_reset, Codes.ENHANCE_YOUR_CALM, id="rapid-reset"),
        pytest.param(resets_by_the_server, Codes.ENHANCE_YOUR_CALM, id="made-you-reset"),
        pytest.param(continuations, Codes.ENHANCE_YOUR_CALM, id="continuations"),
        pytest.param(empty_continuations, Codes.ENHANCE_YOUR_CALM, id="empty-continuations"),
        pytest.param(table_bomb, Codes.ENHANCE_YOUR_CALM, id="hpack-bomb"),
        pytest.param(empty_data, Codes.ENHANCE_YOUR_CALM, id="empty-data"),
        pytest.param(pings, Codes.ENHANCE_YOUR_CALM, id="pings"),
        pytest.param(settings, Codes.ENHANCE_YOUR_CALM, id="settings"),
        pytest.param(window_updates, Codes.ENHANCE_YOUR_CALM, id="window-updates"),
        pytest.param(large_lists, Codes.ENHANCE_YOUR_CALM, id="large-lists"),
    ],
)
def test_flood_is_cut_and_costs_little(
    make: Callable[[], Iterator[bytes]], expected: int, mirror: Edge
) -> None:
    pid = mirror.pids()["worker-0"]
    neighbour = Neighbour(mirror.port, pid)
    beside = threading.Thread(target=neighbour.run)
    before_bytes = resident_bytes(pid)
    beside.start()
    sent, codes = 0, []
    try:
        wait_until(lambda: bool(neighbour.statuses), "the neighbour is answered")
        neighbours_s = cpu_s(pid)
        while sent < FRAMES:
            more, cut_by = send_until_cut(mirror.port, make(), FRAMES - sent)
            sent += more
            codes += cut_by
    finally:
        neighbour.is_over = True
        beside.join(DEADLINE_S)
    spent_s = cpu_s(pid) - neighbours_s
    assert expected in codes, codes  # the attack was one
    assert set(neighbour.statuses) == {200}
    peak_bytes = max(neighbour.peak_bytes, resident_bytes(pid))
    assert spent_s <= MAX_CPU_S, f"{sent} frames"  # the neighbour's share is in it
    assert peak_bytes - before_bytes <= MAX_GROWTH_BYTES


def open_blobs(pid: int) -> int:
    """Return how many stored files the process has open."""
    count = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += "/blobs/" in os.readlink(f"/proc/{pid}/fd/{name}")
    return count


@pytest.mark.full
def test_windows_that_stay_closed_hold_nothing_for_long(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    """Many responses too large for memory, none of which the client lets come."""
    archives = [fresh_archive(2_000_000) for _ in range(3)]
    pid = mirror.pids()["worker-0"]
    with Client(mirror.port) as client:
        for archive in archives:
            assert client.fetch(archive.path).sha256 == archive.sha256
    before_bytes = resident_bytes(pid)
    with socket.create_connection(("127.0.0.1", mirror.port), timeout=DEADLINE_S) as sock:
        closed = frame(SETTING, b"\x00\x04\x00\x00\x00\x00")
        asks = b"".join(
            frame(
                HEADERS,
                block(path=archives[number % 3].path),
                flags=END_STREAM | END_HEADERS,
                stream_id=2 * number + 1,
            )
            for number in range(100)
        )
        sock.sendall(PREFACE + closed + asks)
        wait_until(lambda: open_blobs(pid) == 100, "all of them are opened")
        neighbour = Neighbour(mirror.port, pid)
        began_s = time.monotonic()
        with Client(mirror.port) as client:
            while open_blobs(pid):
                assert client.fetch("/livez").status == 200
                assert time.monotonic() - began_s < DEADLINE_S
                neighbour.peak_bytes = max(neighbour.peak_bytes, resident_bytes(pid))
        assert time.monotonic() - began_s >= 1.0  # they had their time
    assert neighbour.peak_bytes - before_bytes <= MAX_GROWTH_BYTES
