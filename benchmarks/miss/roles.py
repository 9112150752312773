"""CPU time of a mirror's processes by what they are.

Units: seconds. Runs in: benchmark.
"""

from __future__ import annotations

import contextlib

from benchmarks.edge import Edge
from benchmarks.processes import cpu_s


def cpu_by_role(mirror: Edge) -> dict[str, float]:
    """Return what supervisor, workers and keeper have used so far."""
    used: dict[str, float] = {}
    for pid in mirror.pids():
        with contextlib.suppress(OSError):  # it ended between listing and reading
            role = mirror.role(pid)
            used[role] = used.get(role, 0.0) + cpu_s([pid])
    return used
