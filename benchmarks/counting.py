"""What counting costs a hit: the path of learned heads with and without it, in one process.

Rules:
1. Both paths share everything else: the worker, its hot entries, the memo, the process. Each has
   its own listening socket.
2. `wrk` loads one after the other, round by round; the server is pinned to core 0, `wrk` to core 1.
3. A round of a second is no more exact than a few percent on a machine that others use. So the same
   two paths are also driven by hand, request by request without a loop, in many short batches that
   alternate: that gives the difference itself. Their ratio to the whole CPU time of a request, as
   `wrk` saw it, is the cost.
4. By hand counts are settled every `SETTLE_EVERY` requests, and told every `TELL_EVERY`, as often
   as a busy worker does.

Units: microseconds of CPU time per request.
Runs in: benchmark (`python -m benchmarks.counting`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import math
import multiprocessing
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import rivals
from benchmarks.hit.clients import CLIENT_CORE
from benchmarks.processes import cpu_s
from benchmarks.results import write_result
from mirror.accounting.counters import Counters
from mirror.accounting.layout import layout_of
from mirror.clock import SystemClock
from mirror.config import Config
from mirror.events import open_events
from mirror.fill.client import KeeperClient
from mirror.serve.answers import Answers
from mirror.serve.connection import Connection
from mirror.serve.hot_entry import HotEntry
from mirror.serve.local_answers import LocalAnswers
from mirror.serve.request_path import RequestPath
from mirror.serve.shared import Shared
from mirror.serve.wheel import Wheel
from mirror.store.entry import Entry, NoVariant, Stored
from mirror.store.page import SharedPage
from mirror.store.reader import BlobChanged, BlobFile, BlobMissing

CONTENT: Final = bytes(range(256)) * 8  # 2 KB, as in `benchmarks.hit`
SETTLE_EVERY: Final = 1000  # at 40,000 requests a second, every 25 ms
TELL_EVERY: Final = 40 * SETTLE_EVERY  # once a second; one batch by hand
DRAIN_EVERY: Final = 25  # answers that wait in a socket pair; its reading is not measured
BATCHES: Final = 12
CASES: Final = {"one object": 1, "1,000 objects": 1000}
LIMIT_RATIO: Final = 0.02


class OneContent:
    """A store in which every index file is there, with the same content."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256(CONTENT).digest()

    def lookup(self, key: str) -> Stored | None:
        now = time.time()
        entry = Entry(
            key=key, status=200, digest=self._digest, length=len(CONTENT),
            media_type="text/plain", last_modified=1_700_000_000, upstream_etag="",
            upstream_last_modified="", fetched_at=now, confirmed_at=now, fresh_until=math.inf,
            proof="index",
        )  # fmt: skip
        return Stored(entry=entry, attestation=None)

    def variant(self, stored: Stored) -> Stored | NoVariant:
        return NoVariant.POINTLESS

    def open_blob(self, stored: Stored) -> BlobFile | BlobMissing | BlobChanged:
        return BlobMissing()

    def load_small(self, stored: Stored) -> bytes | BlobMissing | BlobChanged:
        return CONTENT

    def refresh(self) -> bool:
        return True


class Uncounted(RequestPath):
    """The same path, as it is where nobody counts."""

    def serve_hot(self, connection: Connection, hot: HotEntry, head: bytes) -> bool:
        shared = self._shared
        wheel = shared.wheel
        whole = hot.whole
        is_of_now = hot.second == wheel.second and hot.epoch == shared.page.epoch
        if whole is None or not is_of_now:
            return super().serve_hot(connection, hot, head)
        connection.deadline_at = wheel.idle_deadline_at
        connection.send(whole)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    shared: Shared
    paths: dict[str, RequestPath]


def main() -> int:
    """Run it; return 1 when counting costs more than `LIMIT_RATIO` of a hit."""
    arguments = _arguments()
    if not rivals.is_installed("wrk"):
        print("wrk is not installed: nothing measured (Debian: apt-get install wrk)")
        return 0
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs,))
    server.start()
    try:
        ports: dict[str, int] = ours.recv()
        figures = {}
        for name, objects in CASES.items():
            rounds = _rounds(ports, server.pid or 0, objects, arguments)
            ours.send(objects)
            figures[name] = _figures(rounds, ours.recv())
            _print(name, figures[name])
    finally:
        server.terminate()
        server.join()
    path = write_result("counting", {"rounds": arguments.rounds, "cases": figures})
    print(f"\nwritten: {path.name}")
    worst = figures["one object"]["cost_ratio"]
    if worst > LIMIT_RATIO:
        print(f"counting costs {worst:.1%} of a hit, {LIMIT_RATIO:.0%} at most is wanted")
    return int(worst > LIMIT_RATIO)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each path and case")
    parser.add_argument("--duration", type=int, default=1, help="seconds per round")
    parser.add_argument("--connections", type=int, default=32)
    return parser.parse_args()


# The load.


def _rounds(
    ports: dict[str, int], pid: int, objects: int, arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """CPU time per request, by path."""
    rounds: dict[str, list[float]] = {name: [] for name in ports}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            "local n = 0\nrequest = function()\n"
            f"  n = (n + 1) % {objects}\n"
            '  return wrk.format("GET", string.format("/index/be/nc/bench%04d", n))\nend\n'
        )
        script.flush()
        for port in ports.values():
            _wrk(port, pid, script.name, arguments)  # the heads are learned
        for _ in range(arguments.rounds):
            for name, port in ports.items():
                rounds[name].append(_wrk(port, pid, script.name, arguments))
    return rounds


def _wrk(port: int, pid: int, script: str, arguments: argparse.Namespace) -> float:
    before = cpu_s([pid])
    done = subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", f"-c{arguments.connections}",
         f"-d{arguments.duration}s", "-s", script, f"http://127.0.0.1:{port}/"],
        capture_output=True, text=True, check=True, timeout=arguments.duration + 30,
    )  # fmt: skip
    used_s = cpu_s([pid]) - before
    total = re.search(r"(\d+) requests in", done.stdout)
    if total is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"wrk:\n{done.stdout}{done.stderr}")
    return used_s * 1e6 / int(total[1])


def _figures(rounds: dict[str, list[float]], by_hand: dict[str, float]) -> dict[str, float]:
    counted, uncounted = (statistics.median(rounds[name]) for name in ("counted", "uncounted"))
    difference_us = by_hand["difference"]
    return {
        "wrk_counted_us": round(counted, 2),
        "wrk_uncounted_us": round(uncounted, 2),
        "by_hand_counted_us": round(by_hand["counted"], 3),
        "by_hand_uncounted_us": round(by_hand["uncounted"], 3),
        "difference_us": round(difference_us, 3),
        "cost_ratio": round(difference_us / uncounted, 4),
    }


def _print(name: str, figures: dict[str, float]) -> None:
    print(f"{name}:")
    for figure, value in figures.items():
        print(f"  {figure:<24}{value:>10}")


# The server.


def _serve(pipe: Pipe) -> None:
    os.sched_setaffinity(0, {rivals.SERVER_CORE})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        uvloop.run(_serve_in(Path(folder), pipe))


async def _serve_in(folder: Path, pipe: Pipe) -> None:
    loop = asyncio.get_running_loop()
    with _bench(folder) as bench:
        ports = {}
        for name, path in bench.paths.items():
            server = await loop.create_server(_connect(bench, path), "127.0.0.1", 0)
            ports[name] = server.sockets[0].getsockname()[1]
        bench.shared.accounts.start()
        pipe.send(ports)
        asked: asyncio.Queue[int] = asyncio.Queue()
        loop.add_reader(pipe.fileno(), lambda: asked.put_nowait(pipe.recv()))
        ticks = 0
        while True:
            try:
                objects = await asyncio.wait_for(asked.get(), 0.25)
            except TimeoutError:
                bench.shared.wheel.tick()
                ticks += 1
                if ticks % 4 == 0:
                    bench.shared.accounts.tell()
                continue
            pipe.send(_by_hand(bench, objects))


def _connect(bench: Bench, path: RequestPath) -> type[Connection]:
    class Served(Connection):
        __slots__ = ()

        def __init__(self) -> None:
            super().__init__(bench.shared, path)

    return Served


@contextlib.contextmanager
def _bench(folder: Path) -> Iterator[Bench]:
    config, clock, log = Config(), SystemClock(), open_events("benchmark", str(folder))
    counters = Counters.open(str(folder), 0, layout_of())
    page = SharedPage.create(str(folder / "page"), 2)
    client = KeeperClient(
        str(folder / "none"), 0, store_path=str(folder), wait_s=1.0, clock=clock, log=log
    )
    shared = Shared(
        config,
        reader=OneContent(),
        keeper=client,
        counters=counters,
        page=page,
        wheel=Wheel(clock, config.serve),
        log=log,
        loop_token="benchmark",
    )
    answers = Answers(shared)
    local = LocalAnswers(shared, answers)
    paths = {
        "counted": RequestPath(shared, answers, local),
        "uncounted": Uncounted(shared, answers, local),
    }
    yield Bench(shared=shared, paths=paths)
    counters.close()


class Pair(asyncio.Transport):
    """The transport of a connection whose other end is read here."""

    def __init__(self) -> None:
        super().__init__()
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        for end in (self._near, self._far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)

    def get_extra_info(self, name: str, default: object = None) -> object:
        known = {"socket": self._near, "peername": ("192.0.2.1", 1), "sockname": ("192.0.2.9", 80)}
        return known.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever kept here."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise RuntimeError("the socket is full: it is read too seldom")

    def pause_reading(self) -> None:
        """All that comes is fed by hand."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._far.recv(1 << 20, socket.MSG_DONTWAIT):
                pass

    def close(self) -> None:
        self._near.close()
        self._far.close()


def _by_hand(bench: Bench, objects: int) -> dict[str, float]:
    """Medians of each path, and of the differences of neighbouring batches."""
    heads = [
        f"GET /index/be/nc/bench{number:04} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
        for number in range(objects)
    ]
    pairs = {}
    for name, path in bench.paths.items():
        pair = Pair()
        connection = Connection(bench.shared, path)
        connection.connection_made(pair)
        for head in heads:  # learned by the first
            connection.data_received(head)
            pair.drain()
        pairs[name] = pair, connection
    spent: dict[str, list[float]] = {name: [] for name in pairs}
    for number in range(BATCHES):
        bench.shared.wheel.tick()
        for name, (pair, connection) in pairs.items():
            # The hits that render, once a second, are no part of this.
            for head in heads:
                connection.data_received(head)
                pair.drain()
            spent[name].append(_batch(bench, pair, connection, heads, number))
    for pair, connection in pairs.values():
        connection.connection_lost(None)
        pair.close()
    pairs_of_times = zip(spent["counted"], spent["uncounted"], strict=True)
    differences = [counted - uncounted for counted, uncounted in pairs_of_times]
    medians = {name: statistics.median(times) for name, times in spent.items()}
    return {**medians, "difference": statistics.median(differences)}


def _batch(bench: Bench, pair: Pair, connection: Connection, heads: list[bytes], at: int) -> float:
    """Microseconds per request."""
    spent_ns = 0
    settle = bench.shared.accounts.settle_cells
    receive, count = connection.data_received, len(heads)
    requests = TELL_EVERY
    for number in range(0, requests, DRAIN_EVERY):
        chosen = [heads[(at + number + step) % count] for step in range(DRAIN_EVERY)]
        began_ns = time.thread_time_ns()
        for head in chosen:
            receive(head)
        if (number + DRAIN_EVERY) % SETTLE_EVERY == 0:
            settle()
        spent_ns += time.thread_time_ns() - began_ns
        pair.drain()
    began_ns = time.thread_time_ns()
    bench.shared.accounts.tell()
    spent_ns += time.thread_time_ns() - began_ns
    return spent_ns / requests / 1000


if __name__ == "__main__":
    sys.exit(main())
