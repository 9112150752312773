"""A bounded soak: steady mixed load, a process killed now and then, every whole body checked.

Rules:
1. `SOAK_MINUTES` (default 10) bounds it; `SOAK_SEED` repeats its choices.
2. A complete body with other bytes than upstream's is a failure, whatever was killed. An aborted
   transfer or a refused connection is one only when no kill was near.
3. After each kill the service must be whole again within `RECOVERY_LIMIT_S`.
4. Only workers and the keeper of this run are killed, by pid.
5. What grows from the first quarter to the end (memory, open files) is printed, not judged.

Runs in: benchmark (`python -m benchmarks.soak`, `make soak`).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import random
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.edge import Edge, edge
from benchmarks.processes import memory, open_files
from benchmarks.results import write_result
from mirror.simulator.process import SimulatorProcess, start_simulator

CLIENTS = 6
KILL_EVERY_S = (8.0, 16.0)
RECOVERY_LIMIT_S = 2.0
NEAR_A_KILL_S = 5.0
_REPORT_EVERY_S = 15.0
_SIZES = ("1KB", "64KiB", "300KB", "3MB", "20MB")
_CRATES = ("harvest", "io", "rgb", "x9", "q", "chronicle", "fading", "heavy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    target: str
    length: int
    digest: bytes


@dataclass(slots=True)
class Findings:
    """What the clients and the killer saw; the lock guards every member."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    requests_total: int = 0
    bytes_total: int = 0
    wrong_total: int = 0
    aborted_near_a_kill_total: int = 0
    aborted_total: int = 0
    kills_total: int = 0
    killed_at: float = -1e9
    recoveries_s: list[float] = field(default_factory=list)

    def served(self, count: int) -> None:
        with self.lock:
            self.requests_total += 1
            self.bytes_total += count

    def wrong(self, what: str) -> None:
        with self.lock:
            self.wrong_total += 1
        print(f"\nWRONG BODY {what}")

    def aborted(self, what: str, started_at: float) -> None:
        with self.lock:
            if started_at - self.killed_at < NEAR_A_KILL_S:
                self.aborted_near_a_kill_total += 1
                return
            self.aborted_total += 1
        print(f"\naborted without a kill near: {what}")


def main() -> int:
    """Run the soak; return 1 for a wrong body, a slow recovery or an abort nobody caused."""
    minutes = float(os.environ.get("SOAK_MINUTES", "10"))
    seed = int(os.environ.get("SOAK_SEED", "1"))
    findings = Findings()
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        start_simulator() as simulator,
        edge(Path(folder) / "mirror", simulator, workers=2) as mirror,
    ):
        wanted = _wanted(simulator)
        until = time.monotonic() + minutes * 60
        growth = _soak(mirror, wanted, findings, until, random.Random(seed))
    is_good = _is_good(findings)
    figures = {
        "minutes": minutes,
        "seed": seed,
        "requests": findings.requests_total,
        "bytes": findings.bytes_total,
        "wrong_bodies": findings.wrong_total,
        "aborted_near_a_kill": findings.aborted_near_a_kill_total,
        "aborted_otherwise": findings.aborted_total,
        "kills": findings.kills_total,
        "slowest_recovery_s": round(max(findings.recoveries_s, default=0.0), 3),
        "growth": growth,
        "is_good": is_good,
    }
    for name, value in figures.items():
        print(f"{name:>22}  {value}")
    print(f"written: {write_result('soak', figures).name}")
    return 0 if is_good else 1


def _is_good(findings: Findings) -> bool:
    is_whole = max(findings.recoveries_s, default=0.0) < RECOVERY_LIMIT_S
    return not findings.wrong_total and not findings.aborted_total and is_whole


def _soak(
    mirror: Edge, wanted: list[Wanted], findings: Findings, until: float, dice: random.Random
) -> dict[str, object]:
    threads = [
        threading.Thread(target=_client, args=(mirror, wanted, findings, until, dice.random()))
        for _ in range(CLIENTS)
    ]
    started_at = time.monotonic()
    for thread in threads:
        thread.start()
    early: dict[str, int] = {}
    report_at = kill_at = started_at
    while (at := time.monotonic()) < until:
        if at >= kill_at and until - at > NEAR_A_KILL_S:  # the last sizes are of a whole mirror
            _kill_one(mirror, wanted[0], findings, dice)
            kill_at = time.monotonic() + dice.uniform(*KILL_EVERY_S)
        if not early and at - started_at > (until - started_at) / 4:
            early = _sizes(mirror)
        if at >= report_at:
            report_at = at + _REPORT_EVERY_S
            print(
                f"{until - at:6.0f} s left, {findings.requests_total} requests,"
                f" {findings.kills_total} kills",
                flush=True,
            )
        time.sleep(0.1)
    for thread in threads:
        thread.join(60)
    return {"at a quarter": early, "at the end": _sizes(mirror)}


def _wanted(simulator: SimulatorProcess) -> list[Wanted]:
    """Ask upstream itself for the truth about each object."""
    date = simulator.control.state()["releases"][0]["date"]
    releases = [f"/dist/{date}/big-{size}-x86_64-unknown-linux-gnu.tar.gz" for size in _SIZES]
    index = [_index_path(name) for name in _CRATES]
    crates = [f"/crates/{name}/{name}-1.0.0.crate" for name in _CRATES]
    return [
        *(_truth(simulator.index_url + path, "/index" + path) for path in index),
        *(_truth(simulator.crates_url + path, path) for path in crates),
        *(_truth(simulator.releases_url + path, path) for path in releases),
    ]


def _truth(url: str, target: str) -> Wanted:
    with urllib.request.urlopen(url, timeout=60) as answer:
        content = answer.read()
    return Wanted(target=target, length=len(content), digest=hashlib.sha256(content).digest())


def _index_path(name: str) -> str:
    if len(name) < 3:
        return f"/{len(name)}/{name}"
    return f"/3/{name[0]}/{name}" if len(name) == 3 else f"/{name[:2]}/{name[2:4]}/{name}"


def _client(
    mirror: Edge, wanted: list[Wanted], findings: Findings, until: float, seed: float
) -> None:
    dice = random.Random(seed)
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", mirror.port, timeout=30)
        try:
            for _ in range(dice.randrange(1, 50)):
                _one_request(connection, dice.choice(wanted), findings)
                if time.monotonic() > until:
                    break
        finally:
            connection.close()


def _one_request(connection: http.client.HTTPConnection, item: Wanted, findings: Findings) -> None:
    started_at = time.monotonic()
    try:
        connection.request("GET", item.target)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as exc:
        findings.aborted(f"{item.target}: {exc!r}", started_at)
        connection.close()
        return
    if answer.status == 200 and hashlib.sha256(content).digest() == item.digest:
        findings.served(len(content))
    elif answer.status == 200:
        findings.wrong(f"{item.target}: {len(content)} of {item.length} bytes")
    else:
        findings.aborted(f"{item.target}: status {answer.status}", started_at)


def _kill_one(mirror: Edge, probe: Wanted, findings: Findings, dice: random.Random) -> None:
    """Kill a worker or the keeper, and time how long until a request on every lane is answered."""
    children = mirror.pids()[1:]
    if not children:
        return
    victim = dice.choice(children)
    with findings.lock:
        findings.kills_total += 1
        findings.killed_at = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    killed_at = time.monotonic()
    good = 0
    while good < 8 and time.monotonic() - killed_at < 4 * RECOVERY_LIMIT_S:
        good = good + 1 if _is_answered(mirror, probe) else 0
    with findings.lock:
        findings.recoveries_s.append(time.monotonic() - killed_at)
        findings.killed_at = time.monotonic()


def _is_answered(mirror: Edge, probe: Wanted) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", mirror.port, timeout=RECOVERY_LIMIT_S)
    try:
        connection.request("GET", probe.target)
        answer = connection.getresponse()
        return answer.status == 200 and len(answer.read()) == probe.length
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _sizes(mirror: Edge) -> dict[str, int]:
    """Return resident bytes and open files, summed over the processes of each role."""
    found: dict[str, int] = {}
    for pid in mirror.pids():
        with contextlib.suppress(OSError, KeyError):
            role = mirror.role(pid)
            for name, value in (
                (f"{role} rss_bytes", memory(pid, role).rss_bytes),
                (f"{role} open_files", open_files(pid)),
            ):
                found[name] = found.get(name, 0) + value
    return found


if __name__ == "__main__":
    sys.exit(main())
