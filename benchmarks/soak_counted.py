"""The parts of the soak that end when their count is reached, each in a process of its own.

    python -m benchmarks.soak_counted PART SEED

Rules:
1. The last line printed is one JSON object; "is_good" is the verdict.
2. `kills`: every point `KILLS_EACH` times in whole mirrors, and the rest of `SOAK_KILLS` in forks
   that hold a store only (`tests.faults.store_kills`), which takes a twentieth of the time.
3. `stampede`: more clients of one worker than may wait in its queue would be refused, as they
   should; here its limit is raised.

Runs in: benchmark.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.followers import download
from mirror.simulator.process import SimulatorProcess, start_simulator
from mirror.store.points import Point
from tests.faults.kill_rounds import plan_of, require_checker_convicts, run_mirrors
from tests.faults.store_kills import run_store_kills
from tests.scenario.damage_run import run_damage
from tests.scenario.edge import Edge
from tests.scenario.upstream_objects import count_of, fresh_archive

KILLS_EACH = 50
DAMAGE_DEADLINE_S = 1800.0
STAMPEDE_BYTES = 100_000
RATE = 30_000  # bytes per second: before the body is there, every client has asked
MIRRORS = 3  # a mirror that starts or drains leaves the processor to the others


def _count(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def kills(folder: Path, upstream: SimulatorProcess, seed: int) -> dict[str, object]:
    """SIGKILL at every crash point: keeper, worker, all."""
    count = _count("SOAK_KILLS", 5000)
    points = list(Point)
    each = min(KILLS_EACH, -(-count // len(points)))
    require_checker_convicts(upstream)
    plan = plan_of(points, each, seed)
    in_mirrors = run_mirrors(folder, upstream, plan, mirrors=MIRRORS, seed=seed)
    left = max(0, count - in_mirrors.kills_total)
    in_forks = run_store_kills(folder, left, programs=os.cpu_count() or 1, seed=seed)
    fewest = min(points, key=in_mirrors.of_point)
    return {
        "kills": in_mirrors.kills_total + in_forks.total(),
        "of whole mirrors": in_mirrors.kills_total,
        "of stores in forks": in_forks.total(),
        "fewest at a point": f"{in_mirrors.of_point(fewest)} ({fewest.value})",
        "mirrors": str(in_mirrors),
        "is_good": in_mirrors.kills_total == len(plan) and in_forks.total() == left,
    }


def damage(folder: Path, upstream: SimulatorProcess, _seed: int) -> dict[str, object]:
    """Files flipped, cut, extended, zeroed, swapped: each found and healed, nobody lied to."""
    count = _count("SOAK_DAMAGE", 50_000)
    report = run_damage(folder, upstream, count, deadline_s=DAMAGE_DEADLINE_S)
    report.verdict(count)
    return {
        "damaged": report.damaged,
        "found": report.found,
        "healed": report.healed,
        "false alarms": len(report.false_alarms),
        "wrong bodies": len(report.lies),
        "answers": report.answers,
        "report": str(report),
        "is_good": True,
    }


def stampede(folder: Path, upstream: SimulatorProcess, _seed: int) -> dict[str, object]:
    """Very many clients ask at once for one cold object: upstream is asked once."""
    count = _count("SOAK_STAMPEDE", 10_000)
    archive = fresh_archive(STAMPEDE_BYTES)
    with Edge(folder, upstream, settings={"limits.queued_misses": str(2 * count)}) as mirror:
        upstream.control.faults(
            {"kind": "rate", "path": archive.path, "bytes_per_s": RATE, "count": 1, "name": "slow"}
        )
        clients, took_s = download(mirror.port, archive.path, count)
        faults = mirror.own_faults()
    asked = count_of(upstream, archive.key)["requests"]
    digests = Counter(str(client.digest.hexdigest()) for client in clients)  # type: ignore[attr-defined] # hashlib's type has no public name
    right = digests[archive.sha256]
    fired = upstream.control.faults_fired()["slow"]
    return {
        "clients": count,
        "right bodies": right,
        "wrong bodies": len(clients) - right,
        "upstream requests": asked,
        "slow bodies": fired,
        "own faults": faults[:3],
        "seconds": round(took_s, 1),
        "is_good": right == count and asked == fired == 1 and not faults,
    }


COUNTED: Mapping[str, Callable[[Path, SimulatorProcess, int], dict[str, object]]] = {
    "kills": kills,
    "damage": damage,
    "stampede": stampede,
}


def main(name: str, seed: int) -> int:
    with (
        tempfile.TemporaryDirectory(prefix=f"soak-{name}-") as folder,
        start_simulator() as upstream,
    ):
        figures = COUNTED[name](Path(folder), upstream, seed)
    print(json.dumps(figures))
    return 0 if figures["is_good"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
