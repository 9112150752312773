"""Fifty clients at once for one cold archive: what upstream sends, when bytes come, what it takes.

Rules:
1. All connections stand before the first request is sent, so the spread is the mirror's.
2. Every body is hashed; one that is short or wrong ends the benchmark.
3. Until every client has its first body byte, one that has it is not read on: else this one
   process would measure how fast it drains the early ones.

Units: bytes, milliseconds where named. Runs in: benchmark (`python -m benchmarks.followers`).
"""

from __future__ import annotations

import argparse
import hashlib
import selectors
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.edge import Edge, edge
from benchmarks.processes import Memory, memory
from benchmarks.results import write_result
from mirror.simulator.process import SimulatorProcess, start_simulator

FIRST_READ_BYTES = 4 << 10
READ_BYTES = 256 << 10
DEADLINE_S = 120.0
SPREAD_LIMIT_MS = 20.0
RSS_LIMIT_BYTES = 200 << 20


@dataclass(slots=True)
class Client:
    """One connection: its head until that is whole, then its body's hash."""

    socket: socket.socket
    head: bytearray = field(default_factory=bytearray)
    first_byte_at: float = 0.0
    received_bytes: int = 0
    expected_bytes: int = -1
    digest: object = field(default_factory=hashlib.sha256)

    def take(self, data: memoryview, at: float) -> bool:
        """Count `data`; return whether the body is complete.

        Raises: RuntimeError when the answer is no 200.
        """
        if self.expected_bytes < 0:
            self.head += data
            head, end, body = bytes(self.head).partition(b"\r\n\r\n")
            if not end:
                return False
            self.expected_bytes = _content_length(head)
            data = memoryview(body)
        if data and not self.first_byte_at:
            self.first_byte_at = at
        self.digest.update(data)  # type: ignore[attr-defined]  # hashlib's type has no public name
        self.received_bytes += len(data)
        return self.received_bytes >= self.expected_bytes


class MemoryWatch:
    """Reads the memory of every process of the mirror a few times a second."""

    def __init__(self, watched: Edge) -> None:
        self._edge = watched
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.peaks: dict[int, Memory] = {}

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        names: dict[int, str] = {}
        while not self._stopping.wait(0.25):
            for pid in self._edge.pids():
                try:
                    name = names.setdefault(pid, self._edge.role(pid))
                    self._keep(memory(pid, name))
                except (OSError, KeyError):
                    continue  # it ended between listing and reading

    def _keep(self, seen: Memory) -> None:
        former = self.peaks.get(seen.pid, seen)
        self.peaks[seen.pid] = Memory(
            pid=seen.pid,
            name=seen.name,
            rss_bytes=max(seen.rss_bytes, former.rss_bytes),
            peak_rss_bytes=max(seen.peak_rss_bytes, former.peak_rss_bytes),
            pss_bytes=max(seen.pss_bytes, former.pss_bytes),
        )


def main() -> int:
    """Run the benchmark; with `--require` return 1 when a limit is missed."""
    arguments = _arguments()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        start_simulator() as simulator,
        edge(Path(folder) / "mirror", simulator, workers=arguments.workers) as mirror,
    ):
        target = _target(simulator, arguments.size)
        expected = _digest(simulator, target)
        _reach_the_keeper(mirror)
        simulator.control.reset_counts()
        with MemoryWatch(mirror) as watch:
            clients, took_s = download(mirror.port, target, arguments.clients)
            time.sleep(0.5)  # one more reading of memory after the last byte
        counts = simulator.control.counts()["objects"][f"releases:{target}"]
    wrong = [client for client in clients if client.digest.hexdigest() != expected]  # type: ignore[attr-defined]  # as above
    figures = _figures(clients, took_s, counts, watch)
    _print(figures, len(wrong))
    path = write_result("followers", {"target": target, "wrong_bodies": len(wrong), **figures})
    print(f"\nwritten: {path.name}")
    if wrong:
        return 1
    return 0 if not arguments.require or _is_within(figures) else 1


def _reach_the_keeper(mirror: Edge) -> None:
    """Ask for small cold objects on new connections, so that no worker is just being started."""
    for name in ("q", "io", "x9", "rgb"):
        for _ in range(6):
            path = f"/index/{len(name)}/{name}" if len(name) < 3 else f"/index/3/{name[0]}/{name}"
            with urllib.request.urlopen(mirror.base + path, timeout=20) as answer:
                answer.read()


def download(port: int, target: str, count: int) -> tuple[list[Client], float]:
    """Ask `count` times at once and read every body; return the time until the last byte too."""
    clients = [Client(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
    request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    started_at = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.socket.setblocking(False)
            selector.register(client.socket, selectors.EVENT_READ, client)
        for client in clients:
            client.socket.send(request)
        _first_bytes(selector, clients, started_at + DEADLINE_S)
        _read_all(selector, count, started_at + DEADLINE_S)
    ended_at = time.monotonic()
    for client in clients:
        client.socket.close()
        client.first_byte_at -= started_at
    return clients, ended_at - started_at


def _first_bytes(selector: selectors.BaseSelector, clients: list[Client], until: float) -> None:
    buffer = memoryview(bytearray(FIRST_READ_BYTES))
    waiting = len(clients)
    while waiting:
        for key, _ in _ready(selector, until, waiting):
            if _read(key.data, buffer):
                raise RuntimeError("the archive is too small for this benchmark")
            if key.data.first_byte_at:
                selector.unregister(key.fileobj)
                waiting -= 1
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)


def _read_all(selector: selectors.BaseSelector, waiting: int, until: float) -> None:
    buffer = memoryview(bytearray(READ_BYTES))
    while waiting:
        for key, _ in _ready(selector, until, waiting):
            if _read(key.data, buffer):
                selector.unregister(key.fileobj)
                waiting -= 1


def _ready(
    selector: selectors.BaseSelector, until: float, waiting: int
) -> list[tuple[selectors.SelectorKey, int]]:
    if time.monotonic() > until:
        raise RuntimeError(f"{waiting} clients are not done after {DEADLINE_S:.0f} s")
    return selector.select(1.0)


def _read(client: Client, buffer: memoryview) -> bool:
    """Read once; return whether the body is complete. Raises RuntimeError when it is cut short."""
    got = client.socket.recv_into(buffer)
    if not got:
        raise RuntimeError(f"closed after {client.received_bytes} bytes")
    return client.take(buffer[:got], time.monotonic())


def _content_length(head: bytes) -> int:
    status, *lines = head.split(b"\r\n")
    if not status.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"answered {status!r}")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError("an answer without Content-Length")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.followers", description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--size", default="100MB", help="of the archive, as the simulator names it")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--require", action="store_true", help="fail when a limit is missed")
    return parser.parse_args()


def _target(simulator: SimulatorProcess, size: str) -> str:
    date = simulator.control.state()["releases"][0]["date"]
    return f"/dist/{date}/big-{size}-x86_64-unknown-linux-gnu.tar.gz"


def _digest(simulator: SimulatorProcess, target: str) -> str:
    """Ask upstream's own `.sha256`; this also makes the simulator compute it before the start."""
    with urllib.request.urlopen(f"{simulator.releases_url}{target}.sha256", timeout=60) as answer:
        return str(answer.read().split()[0], "ascii")


def _figures(
    clients: list[Client], took_s: float, counts: dict[str, int], watch: MemoryWatch
) -> dict[str, object]:
    firsts_ms = sorted(client.first_byte_at * 1000 for client in clients)
    return {
        "clients": len(clients),
        "content_bytes": clients[0].expected_bytes,
        "upstream_bytes": counts["bytes"],
        "upstream_requests": counts["requests"],
        "leader_first_byte_ms": round(firsts_ms[0], 2),
        "last_follower_first_byte_ms": round(firsts_ms[-1], 2),
        "spread_ms": round(firsts_ms[-1] - firsts_ms[0], 2),
        "took_s": round(took_s, 2),
        "delivered_mb_per_s": round(sum(c.received_bytes for c in clients) / took_s / 1e6),
        "memory": [asdict(item) for item in sorted(watch.peaks.values(), key=lambda m: m.pid)],
        "peak_rss_bytes": max((item.peak_rss_bytes for item in watch.peaks.values()), default=0),
    }


def _is_within(figures: dict[str, object]) -> bool:
    return (
        figures["upstream_bytes"] == figures["content_bytes"]
        and float(str(figures["spread_ms"])) <= SPREAD_LIMIT_MS
        and 0 < int(str(figures["peak_rss_bytes"])) < RSS_LIMIT_BYTES
    )


def _print(figures: dict[str, object], wrong: int) -> None:
    for name, value in figures.items():
        if name == "memory" and isinstance(value, list):
            for item in value:
                print(
                    f"  {item['name']:<12} peak RSS {item['peak_rss_bytes'] / 1e6:7.1f} MB,"
                    f" peak Pss {item['pss_bytes'] / 1e6:7.1f} MB"
                )
        else:
            print(f"{name:>30}  {value}")
    print(f"{'wrong bodies':>30}  {wrong}")
    print(f"{'within the limits':>30}  {'yes' if _is_within(figures) and not wrong else 'NO'}")


if __name__ == "__main__":
    sys.exit(main())
