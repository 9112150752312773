"""A scrape of `/metrics` by a mirror with many workers: time, bytes, series.

Rules:
1. The mirror has as many client groups as may be configured.
2. Every worker has counted in every class, so that no cell is cheap because it is zero.
3. Scrapes come one after the other over one connection, as a scraper keeps it, while a client asks
   for hits: the keeper and the workers share the cores.

Units: milliseconds. Runs in: benchmark (`python -m benchmarks.scrape`).
"""

from __future__ import annotations

import argparse
import http.client
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.edge import Edge, edge
from benchmarks.results import ROOT, write_result
from mirror.child import CONTROL_SOCKET
from mirror.simulator.process import start_simulator

LIMIT_MS = 50.0
SERIES_LIMIT = 1000
GROUPS = 64
_PATHS = ("/index/2/io", "/crates/io/io-1.0.0.crate", "/rustup/release-stable.toml", "/dist/x")


def main() -> int:
    """Run the benchmark; with `--require` return 1 beyond the limits."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with (
            start_simulator() as simulator,
            edge(
                folder / "mirror",
                simulator,
                workers=arguments.workers,
                environment=_environment(folder),
            ) as mirror,
        ):
            _warm(mirror, arguments.workers)
            done = threading.Event()
            client = threading.Thread(target=_ask_for_hits, args=(mirror, done))
            client.start()
            try:
                text, times_ms = _scrape(
                    folder / "mirror" / "state" / CONTROL_SOCKET, arguments.scrapes
                )
            finally:
                done.set()
                client.join()
    series = sum(not line.startswith("#") for line in text.splitlines())
    figures: dict[str, object] = {
        "workers": arguments.workers,
        "client_groups": GROUPS,
        "scrapes": arguments.scrapes,
        "series": series,
        "bytes": len(text),
        "median_ms": round(statistics.median(times_ms), 1),
        "p95_ms": round(statistics.quantiles(times_ms, n=20)[-1], 1),
        "max_ms": round(max(times_ms), 1),
    }
    for figure, value in figures.items():
        print(f"{figure:16} {value}")
    if arguments.save:
        print(write_result("scrape", figures).relative_to(ROOT))
    is_good = statistics.median(times_ms) <= LIMIT_MS and series <= SERIES_LIMIT
    return 0 if is_good or not arguments.require else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--scrapes", type=int, default=60)
    parser.add_argument("--require", action="store_true", help="fail beyond the limits")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/…")
    return parser.parse_args()


def _environment(folder: Path) -> dict[str, str]:
    groups = folder / "groups.toml"
    groups.write_text(
        "".join(
            f'[[group]]\nname = "group-{number}"\nnetworks = ["10.{number}.0.0/16"]\n'
            for number in range(GROUPS)
        )
    )
    return {"RUST_MIRROR__ACCOUNTING__GROUPS": str(groups)}


def _warm(mirror: Edge, workers: int) -> None:
    """Ask for each class, a connection per request: the kernel spreads them over the workers."""
    for _ in range(8 * workers):
        connection = http.client.HTTPConnection("127.0.0.1", mirror.port, timeout=30)
        for path in _PATHS:
            connection.request("GET", path)
            connection.getresponse().read()
        connection.close()


def _ask_for_hits(mirror: Edge, done: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", mirror.port, timeout=30)
    while not done.is_set():
        connection.request("GET", _PATHS[0])
        connection.getresponse().read()
    connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def _scrape(path: Path, count: int) -> tuple[str, list[float]]:
    connection = _UnixConnection(path)
    times_ms: list[float] = []
    text = ""
    for _ in range(count):
        began = time.perf_counter()
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        times_ms.append((time.perf_counter() - began) * 1000)
    connection.close()
    return text, times_ms


if __name__ == "__main__":
    raise SystemExit(main())
