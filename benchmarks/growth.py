"""What the processes of a mirror hold at one moment, and how fast that grows.

Rules:
1. A process is named with its pid: growth is told of those that lasted, and of no successor.

Units: seconds, bytes. Runs in: benchmark, tests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import open_files
from tests.scenario.edge import Edge

HOUR_S = 3600
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Sample:
    """`at` is monotonic; the others are by process, e.g. "keeper 4711"."""

    at: float
    rss_bytes: Mapping[str, int]
    files: Mapping[str, int]


def sample(mirror: Edge) -> Sample:
    """Look at the supervisor, the workers and the keeper."""
    pids = {"supervisor": mirror.process.pid, **mirror.pids()}
    return Sample(
        at=time.monotonic(),
        rss_bytes={f"{name} {pid}": rss_bytes(pid) for name, pid in pids.items()},
        files={f"{name} {pid}": open_files(pid) for name, pid in pids.items()},
    )


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def rss_slopes(samples: Sequence[Sample]) -> dict[str, int]:
    """Return how many bytes per hour each process grows that lasted, by least squares."""
    lasting = set.intersection(*(set(item.rss_bytes) for item in samples))
    return {
        name: round(slope([(item.at, item.rss_bytes[name]) for item in samples]) * HOUR_S)
        for name in sorted(lasting)
    }


def growth(first: Mapping[str, int], last: Mapping[str, int]) -> dict[str, int]:
    """Return how much more the processes have that are in both."""
    return {name: last[name] - count for name, count in first.items() if name in last}


def slope(points: Sequence[tuple[float, int]]) -> float:
    """Return the slope of the line with the least squared distances, per second."""
    if len(points) < 2:
        return 0.0
    mean_at = sum(at for at, _ in points) / len(points)
    mean = sum(value for _, value in points) / len(points)
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    return sum((at - mean_at) * (value - mean) for at, value in points) / spread
