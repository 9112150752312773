"""Small cold objects, each asked for once: index files, then the crates that they list.

Rules:
1. Every answer is a 200 whose content has the digest of upstream's own answer.
2. Each round has a new mirror with an empty store. Requests go out on a fixed number of kept
   connections, the next one on each as soon as its answer is whole.
3. CPU is that of the worker and of the keeper from the first request until the last commit: the
   keeper stores what it has answered already.

Units: microseconds of CPU per request where named. Runs in: benchmark.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from benchmarks.edge import Edge, edge
from benchmarks.miss.asking import ask_all
from benchmarks.miss.roles import cpu_by_role
from mirror.simulator.crate_graph import first_crates
from mirror.simulator.process import SimulatorProcess, start_simulator
from mirror.simulator.registry import crate_path, index_path

CONNECTIONS = 16
ROUNDS = 3
_SEED = 1
_QUIET_S = 0.3  # no further CPU in so long: the commits are done
_DEADLINE_S = 60.0


def measure(
    *, rounds: int = ROUNDS, connections: int = CONNECTIONS, folder: Path | None = None
) -> dict[str, object]:
    """Run the rounds; medians per kind of object, by the role of the process."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-miss-", dir=folder) as name,
        start_simulator(seed=_SEED) as simulator,
    ):
        wanted = _wanted(simulator)
        found = [
            _round(Path(name) / str(number), simulator, wanted, connections)
            for number in range(rounds)
        ]
    return {
        "connections": connections,
        **{kind: _median([one[kind] for one in found]) for kind in wanted},
    }


def _wanted(simulator: SimulatorProcess) -> dict[str, dict[str, str]]:
    """Return per kind the targets with the sha256 of what upstream has."""
    crates = list(first_crates(_SEED))
    index = {f"/index{index_path(item.name)}": simulator.index_url for item in crates}
    archives = {crate_path(item.name, item.version): simulator.crates_url for item in crates}
    return {
        "index_files": {
            target: _digest(base + target.removeprefix("/index")) for target, base in index.items()
        },
        "crates": {target: _digest(base + target) for target, base in archives.items()},
    }


def _digest(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return hashlib.sha256(answer.read()).hexdigest()


def _round(
    folder: Path,
    simulator: SimulatorProcess,
    wanted: Mapping[str, Mapping[str, str]],
    connections: int,
) -> dict[str, dict[str, float]]:
    with edge(folder, simulator, workers=1) as mirror:
        return {kind: _figures(mirror, targets, connections) for kind, targets in wanted.items()}


def _figures(mirror: Edge, targets: Mapping[str, str], connections: int) -> dict[str, float]:
    before = cpu_by_role(mirror)
    began_at = time.monotonic()
    ask_all(mirror.port, targets, connections)
    took_s = time.monotonic() - began_at
    after = _quiet(mirror)
    per_request = {
        f"{role}_us": round((after[role] - before.get(role, 0.0)) * 1e6 / len(targets), 1)
        for role in after
        if role != "supervisor"
    }
    return {"requests": len(targets), "requests_per_s": round(len(targets) / took_s), **per_request}


def _quiet(mirror: Edge) -> dict[str, float]:
    """Return the CPU used as soon as no more is."""
    until = time.monotonic() + _DEADLINE_S
    used = cpu_by_role(mirror)
    while time.monotonic() < until:
        time.sleep(_QUIET_S)
        before, used = used, cpu_by_role(mirror)
        if sum(used.values()) - sum(before.values()) < _QUIET_S / 20:
            return used
    raise RuntimeError("the mirror does not become quiet")


def _median(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
