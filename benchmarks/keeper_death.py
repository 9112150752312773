"""The keeper is killed during a fill: how long the client waits, and what upstream sends twice.

Upstream sends the beginning of an archive and stops; the keeper is killed; upstream would go on.
The rest can only come by another keeper, which hashes the prefix on disk again while it comes.

Rules:
1. The client hashes the whole body: one that is short or wrong ends the benchmark.
2. Three times from the kill: the worker has another keeper (its event), the client has its next
   byte, the body is complete.
3. `again_bytes` is what upstream sent beyond one whole object.

Units: bytes, seconds. Runs in: benchmark (`python -m benchmarks.keeper_death`).
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.edge import Edge, edge
from benchmarks.results import write_result
from mirror.simulator.contents import KeyedContent
from mirror.simulator.process import SimulatorProcess, start_simulator

PREFIXES_MIB = (1, 16, 128, 512)
REST_BYTES = 4 << 20
SEED = 1  # the simulator's default
DEADLINE_S = 120.0
LIMIT_S = 1.0  # from a ready keeper to the next byte


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """Times from the kill; `resumed_s` is from the keeper's return to the client's next byte."""

    prefix_bytes: int
    ready_s: float
    next_byte_s: float
    resumed_s: float
    complete_s: float
    again_bytes: int


def main() -> int:
    """Run the benchmark; return 1 when a flight took longer than `LIMIT_S` after the restart."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keeper_death", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefix-mib", type=int, nargs="*", default=list(PREFIXES_MIB))
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        start_simulator() as simulator,
        edge(Path(folder) / "mirror", simulator, workers=1) as running,
    ):
        for mib in arguments.prefix_mib:
            deaths = [
                die(running, simulator, mib << 20, number) for number in range(arguments.rounds)
            ]
            rows.append(_row(deaths))
            print(json.dumps(rows[-1]))
    figures = {
        "rounds": arguments.rounds,
        "load_average": round(os.getloadavg()[0], 2),  # what else the machine had to do
        "prefixes": rows,
    }
    path = write_result("keeper_death", figures)
    print(f"written: {path.name}")
    return int(any(float(str(row["resumed_s_median"])) > LIMIT_S for row in rows))


def die(running: Edge, simulator: SimulatorProcess, prefix_bytes: int, number: int) -> Death:
    """One death. Raises: RuntimeError for a wrong body or one that does not come."""
    length = prefix_bytes + REST_BYTES
    path = f"/dist/2026-03-05/big-{length}-death{number}.tar.gz"
    rule = {"kind": "stall", "path": path, "at": prefix_bytes, "count": 1, "name": path}
    simulator.control.faults(rule)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=DEADLINE_S)
    connection.request("GET", path)
    response = connection.getresponse()
    digest = hashlib.sha256()
    _take(response, digest, prefix_bytes)
    [keeper] = [pid for pid in running.pids() if running.role(pid) == "keeper"]
    killed_at, seen = time.time(), _log_bytes(running)
    os.kill(keeper, signal.SIGKILL)
    _take(response, digest, 1)
    next_at = time.time()
    _take(response, digest, REST_BYTES - 1)
    complete_at = time.time()
    connection.close()
    if digest.digest() != KeyedContent(SEED, path, length).sha256:
        raise RuntimeError(f"{path}: a wrong body")
    ready_at = _seconds(_event(running, "keeper-connected", seen))
    counts = simulator.control.counts()["objects"][f"releases:{path}"]
    return Death(
        prefix_bytes=prefix_bytes,
        ready_s=ready_at - killed_at,
        next_byte_s=next_at - killed_at,
        resumed_s=max(0.0, next_at - ready_at),
        complete_s=complete_at - killed_at,
        again_bytes=int(counts["bytes"]) - length,
    )


def _take(response: http.client.HTTPResponse, digest: Any, wanted: int) -> None:
    while wanted:
        piece = response.read(min(wanted, 1 << 20))
        if not piece:
            raise RuntimeError("the body breaks off")
        digest.update(piece)
        wanted -= len(piece)


def _event(running: Edge, event: str, since_byte: int) -> dict[str, Any]:
    """Return the newest such event of the mirror's log; wait until there is one."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        lines = running.running.log.read_bytes()[since_byte:].splitlines()
        for line in reversed(lines):
            found = json.loads(line) if line.startswith(b"{") and line.endswith(b"}") else {}
            if found.get("event") == event:
                return dict(found)
        time.sleep(0.005)
    raise RuntimeError(f"no {event}")


def _log_bytes(running: Edge) -> int:
    return running.running.log.stat().st_size


def _seconds(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def _row(deaths: list[Death]) -> dict[str, object]:
    row: dict[str, object] = {"prefix_bytes": deaths[0].prefix_bytes, "deaths": len(deaths)}
    for name in ("ready_s", "next_byte_s", "resumed_s", "complete_s"):
        values = [float(asdict(death)[name]) for death in deaths]
        row[f"{name}_median"] = round(statistics.median(values), 3)
        row[f"{name}_max"] = round(max(values), 3)
    row["again_bytes_max"] = max(death.again_bytes for death in deaths)
    return row


if __name__ == "__main__":
    sys.exit(main())
