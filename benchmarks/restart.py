"""Restart of a mirror with many objects: after a stop, after SIGKILL of everything, with a lost
index, after a power cut.

Rules:
1. Upstream is nobody: whatever is answered comes from the disk.
2. Times are from the start of the process; the first hit is a 200 with the right content, asked for
   again every 5 ms. The page cache is warm: the machine did not restart, the mirror did.
3. After a lost index the object that is asked for has a record in `heads/`; so it is found before
   the rescan comes to it. Worker latency is that of hits, one at a time, as long as the rescan runs
   and for as long behind it.
4. A power cut is another boot in the index without a clean close.

Runs in: benchmark (`python -m benchmarks.restart [--objects N] [--save]`).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import apsw

from benchmarks.processes import descendants, free_port
from benchmarks.restart_store import RECORDED_OF, content_of, make_store
from benchmarks.results import write_result

_BUDGET = "64GiB"
_DEADLINE_S = 600.0
_FIRST, _SECOND = RECORDED_OF * 7, RECORDED_OF * 11  # index files with records
_LATENCY_S = 5.0
_SETTINGS = {
    "control.listen": "",
    "upstream.releases.urls": "http://127.0.0.1:9",
    "upstream.crates.urls": "http://127.0.0.1:9",
    "upstream.index.urls": "http://127.0.0.1:9",
    "trust.channel_manifest": "digest",
    "freshness.index": "24h",
}


class Mirror:
    """One mirror over the store, started again and again."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.port = free_port()
        self._workers = workers
        self._log = folder / "events.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0

    def start(self) -> None:
        command = [sys.executable, "-m", "mirror", "serve"]
        settings = {
            **_SETTINGS,
            "serve.listen": f"127.0.0.1:{self.port}",
            "serve.workers": str(self._workers),
            "store.path": f"{self.folder}/store",
            "store.budget": _BUDGET,
            "state.path": f"{self.folder}/state",
        }
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        self.started_at = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log)

    def get(self, number: int) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", f"/index/be/nc/bench{number}")
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def first_hit_s(self, number: int) -> float:
        """Ask until the object comes; return the seconds since the start."""
        while time.monotonic() < self.started_at + _DEADLINE_S:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get(number) == (200, content_of(number)):
                    return time.monotonic() - self.started_at
            time.sleep(0.005)
        raise RuntimeError(f"no hit:\n{self._log.read_text()[-2000:]}")

    def event_s(self, name: str) -> float:
        """Wait for an event; return the seconds from the start until it was seen."""
        while time.monotonic() < self.started_at + _DEADLINE_S:
            if self.event(name):
                return time.monotonic() - self.started_at
            time.sleep(0.005)
        raise RuntimeError(f"no {name}:\n{self._log.read_text()[-2000:]}")

    def event(self, name: str) -> dict[str, object]:
        for line in self._log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                event: dict[str, object] = json.loads(line)
                if event.get("event") == name:
                    return event
        return {}

    def latencies_ms(self, number: int, until: str, most_s: float) -> list[float]:
        """Ask for a stored object, over one connection, until the event or for `most_s`."""
        taken: list[float] = []
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        end = time.monotonic() + most_s
        while time.monotonic() < end and not (
            until and len(taken) % 200 == 0 and self.event(until)
        ):
            at = time.monotonic()
            connection.request("GET", f"/index/be/nc/bench{number}")
            assert connection.getresponse().read() == content_of(number)
            taken.append((time.monotonic() - at) * 1000)
        connection.close()
        return taken

    def pids(self) -> list[int]:
        """Return the supervisor and all below it. Raises RuntimeError before a start."""
        if self._process is None:
            raise RuntimeError("not started")
        return [self._process.pid, *descendants(self._process.pid)]

    def kill_all(self) -> None:
        """SIGKILL everything at once; nothing when it has ended."""
        if self._process is None or self._process.poll() is not None:
            return
        os.kill(self._process.pid, signal.SIGSTOP)
        for pid in [*descendants(self._process.pid), self._process.pid]:
            os.kill(pid, signal.SIGKILL)
        self._process.wait(60)


def main() -> int:
    """Run the benchmark; return 1 when a restart takes a second or more."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restart", description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="write a result file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-restart-") as name:
        folder = Path(name)
        began = time.monotonic()
        make_store(f"{name}/store", f"{name}/state", arguments.objects, _BUDGET)
        print(f"{arguments.objects} objects made in {time.monotonic() - began:.0f} s", flush=True)
        mirror = Mirror(folder, arguments.workers)
        try:
            figures = dict(_figures(mirror, folder))
        finally:
            mirror.kill_all()
    if arguments.save:
        print(f"written: {write_result('restart', {'objects': arguments.objects, **figures})}")
    restarts = [figures[case]["first_hit_s"] for case in ("after_stop", "after_kill", "lost_index")]
    return 0 if max(restarts) < 1.0 else 1


def _figures(mirror: Mirror, folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    mirror.start()
    yield _told("after_stop", _restart(mirror))
    mirror.kill_all()
    mirror.start()
    yield _told("after_kill", _restart(mirror))
    mirror.kill_all()
    for path in (folder / "store").glob("index.db*"):
        path.unlink()
    mirror.start()
    yield _told("lost_index", _repair(mirror))
    mirror.kill_all()
    _forget_boot(folder / "store" / "index.db")
    mirror.start()
    yield _told("power_cut", _repair(mirror))


def _restart(mirror: Mirror) -> dict[str, float]:
    return {"first_hit_s": mirror.first_hit_s(_FIRST), "keeper_ready_s": mirror.event_s("ready")}


def _repair(mirror: Mirror) -> dict[str, float]:
    figures = {"first_hit_s": mirror.first_hit_s(_FIRST)}
    at = time.monotonic()
    assert mirror.get(_SECOND) == (200, content_of(_SECOND))
    figures["another_object_ms"] = (time.monotonic() - at) * 1000
    figures["keeper_ready_s"] = mirror.event_s("ready")
    during = mirror.latencies_ms(_FIRST, "index-rescanned", _DEADLINE_S)
    figures["repair_s"] = mirror.event_s("index-rescanned") - figures["first_hit_s"]
    figures["blobs_found"] = float(str(mirror.event("index-rescanned")["blobs"]))
    after = mirror.latencies_ms(_FIRST, "", _LATENCY_S)
    for name, taken in (("during", during), ("after", after)):
        figures[f"hits_{name}"] = len(taken)
        if len(taken) > 1:
            figures[f"hit_p50_{name}_ms"] = statistics.median(taken)
            figures[f"hit_p99_{name}_ms"] = statistics.quantiles(taken, n=100)[98]
            figures[f"hit_max_{name}_ms"] = max(taken)
    return figures


def _told(case: str, figures: dict[str, float]) -> tuple[str, dict[str, float]]:
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(case, json.dumps(rounded), flush=True)
    return case, rounded


def _forget_boot(index: Path) -> None:
    """Let the index be of another boot, as a machine finds it after its power came back."""
    connection = apsw.Connection(str(index))
    connection.execute("UPDATE fact SET value = 'another' WHERE name = 'boot'").fetchall()
    connection.close()


if __name__ == "__main__":
    sys.exit(main())
