"""Memory of a worker at rest, and what 10,000 idle connections add.

    python -m benchmarks.memory.idle

Rules:
1. Memory is Pss, the worker's fair share of the pages that it has in common with its siblings; what
   the kernel holds for sockets is not part of it.
2. A connection is idle after a request and its answer: one that never asked is cut off soon.
3. All connections must still be open when memory is read; otherwise it raises.
4. A figure is the median of several readings a moment apart.

Units: bytes; MB are decimal. Runs in: benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.edge import Edge, edge
from benchmarks.processes import memory, open_files
from benchmarks.results import write_result
from mirror.simulator.process import start_simulator

CONNECTIONS = 10_000
IDLE_LIMIT_MB = 25.0
MORE_LIMIT_MB = 30.0
_TARGET = "/index/2/io"
_READINGS = 5
_APART_S = 0.3
SPARE_FILES = 500  # beside the connections: the interpreter's, the simulator's
_WARM_REQUESTS = 50
# Longer than it takes to open all of them on a slow machine; more of them than the default allows.
ENVIRONMENT = {
    "RUST_MIRROR__SERVE__IDLE_TIMEOUT": "600s",
    "RUST_MIRROR__SERVE__MAX_CONNECTIONS": "20000",
}


def measure(*, connections: int = CONNECTIONS) -> dict[str, object]:
    """Return Pss of one worker at rest and with idle connections, and what they add.

    Raises: RuntimeError when so many files may not be open, or a connection was closed.
    """
    allow_files(connections + SPARE_FILES)
    with (
        tempfile.TemporaryDirectory(prefix="bench-memory-") as folder,
        start_simulator() as simulator,
        edge(Path(folder) / "mirror", simulator, workers=1, environment=ENVIRONMENT) as mirror,
    ):
        worker = next(pid for pid in mirror.pids() if mirror.role(pid) == "worker")
        with contextlib.closing(_connected(mirror)) as warm:
            for _ in range(_WARM_REQUESTS):
                _ask(warm)
        at_rest, files = _pss_bytes(worker), open_files(worker)
        with contextlib.ExitStack() as stack:
            for _ in range(connections):
                _ask(stack.enter_context(contextlib.closing(_connected(mirror))))
            with_idle, held = _pss_bytes(worker), open_files(worker) - files
        if held < connections:
            raise RuntimeError(f"{connections - held} of {connections} connections were closed")
    return {
        "connections": connections,
        "idle_mb": round(at_rest / 1e6, 2),
        "with_connections_mb": round(with_idle / 1e6, 2),
        "more_mb": round((with_idle - at_rest) / 1e6, 2),
        "bytes_per_connection": round((with_idle - at_rest) / connections),
        "idle_limit_mb": IDLE_LIMIT_MB,
        "more_limit_mb": MORE_LIMIT_MB,
    }


def main() -> int:
    """Measure, print and write a result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory.idle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    figures = measure(connections=parser.parse_args().connections)
    for name, value in figures.items():
        print(f"{name:24}{value:>12}")
    print(f"written: {write_result('memory.idle', figures).name}")
    return 0


def allow_files(count: int) -> None:
    """Let this process and the mirror, which inherits it, have so many files open.

    Raises: RuntimeError when the machine does not allow it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise RuntimeError(f"{count} open files are needed and {hard} allowed: ulimit -Hn {count}")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _connected(mirror: Edge) -> socket.socket:
    return socket.create_connection(("127.0.0.1", mirror.port), timeout=30)


def _ask(connection: socket.socket) -> None:
    """Ask for a small object and read all of the answer."""
    connection.sendall(f"GET {_TARGET} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    answer = bytearray()
    while b"\r\n\r\n" not in answer:
        answer += _some(connection)
    head, _, content = bytes(answer).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"no 200: {head[:60]!r}")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    received = len(content)
    while received < length:
        received += len(_some(connection))


def _some(connection: socket.socket) -> bytes:
    piece = connection.recv(65536)
    if not piece:
        raise RuntimeError("the mirror closed a connection")
    return piece


def _pss_bytes(pid: int) -> float:
    found = []
    for _ in range(_READINGS):
        time.sleep(_APART_S)
        found.append(memory(pid, "worker").pss_bytes)
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main())
