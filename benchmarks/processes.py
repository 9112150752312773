"""Start, await, read and end the processes of one benchmark.

Rules:
1. Everything listens on 127.0.0.1, on a port that was free a moment before.
2. Only processes that were started here are ended, by their pid.
3. CPU time is the scheduler's own count (schedstat, ns), summed over the threads of a process.

Units: seconds, bytes. Runs in: benchmark.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

READY_DEADLINE_S = 60.0
END_DEADLINE_S = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    name: str
    pid: int
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of one process: resident now and at its peak, and its fair share of shared pages."""

    pid: int
    name: str
    rss_bytes: int
    peak_rss_bytes: int
    pss_bytes: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started(
    name: str,
    command: Sequence[str | Path],
    folder: Path,
    *,
    core: int | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Running]:
    """Run `command` for the length of the block, its output in `<folder>/<name>.log`."""
    log = folder / f"{name}.log"
    pinned = [*(["taskset", "-c", str(core)] if core is not None else []), *map(str, command)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield Running(name=name, pid=process.pid, log=log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_DEADLINE_S)
            except subprocess.TimeoutExpired:
                for pid in [*descendants(process.pid), process.pid]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()


def await_answer(url: str, running: Running, *, deadline_s: float = READY_DEADLINE_S) -> None:
    """Poll `url` until it answers 200. Raises RuntimeError with the end of the log."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(url, timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        if not Path(f"/proc/{running.pid}").exists() or _state(running.pid) == "Z":
            break
        time.sleep(0.05)
    tail = running.log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{running.name} does not answer at {url}:\n{tail}")


def descendants(pid: int) -> list[int]:
    """Return the pids of all processes below `pid`, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(_parent(int(entry.name)), []).append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        below = sorted(children.get(queue.pop(0), []))
        found += below
        queue += below
    return found


def cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU time that these processes have used so far."""
    total_ns = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def memory(pid: int, name: str) -> Memory:
    """Read one process's memory. Raises OSError when it is gone."""
    status = _kilobytes(Path(f"/proc/{pid}/status"))
    rollup = _kilobytes(Path(f"/proc/{pid}/smaps_rollup"))
    return Memory(
        pid=pid,
        name=name,
        rss_bytes=status["VmRSS"],
        peak_rss_bytes=status["VmHWM"],
        pss_bytes=rollup["Pss"],
    )


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _stat(pid: int) -> list[str]:
    """Fields after the command's name, which may hold spaces: state, parent, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _state(pid: int) -> str:
    try:
        return _stat(pid)[0]
    except OSError:
        return "Z"


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _kilobytes(path: Path) -> dict[str, int]:
    """Return the lines `Name:   123 kB` as bytes."""
    found = {}
    for line in path.read_text().splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[2] == "kB":
            found[parts[0].rstrip(":")] = int(parts[1]) << 10
    return found
