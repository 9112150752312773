"""What 10 to 10,000 connections and one or two workers cost: CPU per request, memory, rate.

Rules:
1. All connections ask for one small hot object, again and again (`wrk`, kept connections); the
   CPU is that of all processes of the mirror.
2. Memory per connection is that of `benchmarks.memory.idle`.
3. Two workers on two cores share them with the client here: their rate is told, not judged.

Units: microseconds, bytes, requests per second. Runs in: benchmark; needs `wrk`.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from benchmarks.edge import Edge, edge
from benchmarks.memory import idle
from benchmarks.processes import cpu_s
from benchmarks.scale.growth_of import LINEAR_MAX, PER_OPERATION_MAX, growth
from mirror.simulator.process import start_simulator

CONNECTIONS = (10, 100, 1_000, 10_000)
WORKERS = (1, 2)
ROUND_S = 3
MEMORY_FROM = 1_000  # fewer connections fit into memory that is there anyway: they may add nothing
_TARGET = "/index/2/io"
_REQUESTS = re.compile(r"(\d+) requests in")
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+)")


def measure(
    counts: Sequence[int] = CONNECTIONS, workers: Sequence[int] = WORKERS, round_s: int = ROUND_S
) -> dict[str, object]:
    """Return one row per number of workers and connections, and how costs grow with the latter."""
    idle.allow_files(max(counts) + idle.SPARE_FILES)
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name, start_simulator() as simulator:
        for number in workers:
            folder = Path(name) / str(number)
            with edge(folder, simulator, workers=number, environment=idle.ENVIRONMENT) as mirror:
                with urllib.request.urlopen(mirror.base + _TARGET, timeout=20) as answer:
                    answer.read()
                for count in counts:
                    row = _round(mirror, count, round_s)
                    rows.append({"workers": number, "connections": count, **row})
    held = [idle.measure(connections=count) for count in counts if count >= MEMORY_FROM]
    memory = [(float(str(one["connections"])), float(str(one["more_mb"]))) for one in held]
    costs = {
        number: [
            (row["connections"], row["cpu_us_per_request"])
            for row in rows
            if row["workers"] == number
        ]
        for number in workers
    }
    return {
        "rows": rows,
        "memory": held,
        "growth": {
            **{
                f"cpu_us_per_request of {number} workers": growth(points, PER_OPERATION_MAX)
                for number, points in costs.items()
            },
            **({"more_mb": growth(memory, LINEAR_MAX)} if len(memory) > 1 else {}),
        },
    }


def parse_report(report: str) -> tuple[int, float, int]:
    """Return requests, requests per second and errors of a report of wrk. Raises RuntimeError."""
    requests, rate = _REQUESTS.search(report), _RATE.search(report)
    if requests is None or rate is None:
        raise RuntimeError(f"not a report of wrk: {report[:200]!r}")
    errors = _ERRORS.search(report)
    failed = 0 if errors is None else sum(map(int, errors.groups()))
    if "Non-2xx" in report:
        raise RuntimeError("not every answer was a success")
    return int(requests.group(1)), float(rate.group(1)), failed


def _round(mirror: Edge, count: int, round_s: int) -> dict[str, float]:
    pids = mirror.pids()
    before = cpu_s(pids)
    command = ["wrk", "-t", "1", "-c", str(count), "-d", f"{round_s}s", mirror.base + _TARGET]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    requests, rate, errors = parse_report(done.stdout)
    return {
        "requests_per_s": round(rate),
        "cpu_us_per_request": round((cpu_s(pids) - before) * 1e6 / requests, 2),
        "errors": errors,
    }
