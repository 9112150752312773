"""Memory of every process of a mirror: at rest, and after a load of misses and hits.

    python -m benchmarks.memory.loaded

Rules:
1. Memory is Pss, by the role of the process; the keeper is the one that holds the store's lock.
2. The load asks for every crate and index file of the simulator and one archive, cold, then all of
   them again as hits. What the hot map of a worker keeps of them is in the figure.

Units: bytes. Runs in: benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.edge import edge
from benchmarks.miss.asking import ask_all
from benchmarks.processes import memory
from benchmarks.results import write_result
from mirror.simulator.crate_graph import first_crates
from mirror.simulator.process import SimulatorProcess, start_simulator
from mirror.simulator.registry import crate_path, index_path

CONNECTIONS = 32
_SEED = 1
_SETTLE_S = 1.0  # heartbeats, wheel and counters have had a turn


def measure(*, connections: int = CONNECTIONS, folder: Path | None = None) -> dict[str, object]:
    """Return Pss by role at rest, after the misses and after the hits."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-memory-", dir=folder) as name,
        start_simulator(seed=_SEED) as simulator,
        edge(Path(name) / "mirror", simulator, workers=1) as mirror,
    ):
        targets = _targets(simulator)
        ask_all(mirror.port, targets[:1], 1)  # the modules of a first request are loaded
        at_rest = pss_by_role(mirror.pids())
        ask_all(mirror.port, targets, connections)
        after_misses = pss_by_role(mirror.pids())
        ask_all(mirror.port, targets, connections)
        after_hits = pss_by_role(mirror.pids())
    return {
        "requests": 2 * len(targets),
        "at_rest_bytes": at_rest,
        "after_misses_bytes": after_misses,
        "after_hits_bytes": after_hits,
    }


def pss_by_role(pids: Sequence[int]) -> dict[str, int]:
    """Return the Pss of supervisor (the first of `pids`), workers and keeper, after a moment."""
    time.sleep(_SETTLE_S)
    held: dict[str, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended between listing and reading
            role = "supervisor" if pid == pids[0] else _role(pid)
            held[role] = held.get(role, 0) + memory(pid, role).pss_bytes
    return held


def _role(pid: int) -> str:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(link).endswith("/store/lock"):
                return "keeper"
    return "worker"


def _targets(simulator: SimulatorProcess) -> list[str]:
    date = simulator.control.state()["releases"][0]["date"]
    crates = list(first_crates(_SEED))
    index = sorted({f"/index{index_path(item.name)}" for item in crates})
    archives = [crate_path(item.name, item.version) for item in crates]
    return [*index, *archives, f"/dist/{date}/big-64KiB-x86_64-unknown-linux-gnu.tar.gz"]


def main() -> int:
    """Measure, print and write a result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory.loaded", description=__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    figures = measure(connections=parser.parse_args().connections)
    for name, value in figures.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{role} {size / 1e6:.1f} MB" for role, size in value.items())
            print(f"{name:24}{shown}")
        else:
            print(f"{name:24}{value}")
    print(f"written: {write_result('memory.loaded', figures).name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
