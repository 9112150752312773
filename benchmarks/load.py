"""One measured round: wrk against one URL, with the server's CPU time beside it.

Rules:
1. wrk runs pinned to its own core, so that client and server never share one.
2. A round with an answer other than 2xx/3xx or a socket error raises: it measured something else.

Units: seconds, microseconds where named. Runs in: benchmark.
"""

from __future__ import annotations

import re
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.processes import cpu_s

CLIENT_CORE = 1
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    requests_per_s: float
    cpu_us_per_request: float
    p50_us: float
    p99_us: float


def measure(url: str, pids: Sequence[int], *, connections: int, duration_s: int) -> Round:
    """Load `url` for `duration_s` with keep-alive connections from one thread.

    Raises: RuntimeError when wrk fails or saw errors.
    """
    before = cpu_s(pids)
    done = subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), "wrk", "--latency", "-t1", f"-c{connections}",
         f"-d{duration_s}s", "-H", "User-Agent: wrk", url],
        capture_output=True, text=True, check=False, timeout=duration_s + 30,
    )  # fmt: skip
    used_s = cpu_s(pids) - before
    text = done.stdout
    if done.returncode or "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"wrk {url}:\n{text}{done.stderr}")
    return parse_round(text, used_s)


def parse_round(text: str, used_s: float) -> Round:
    """Read wrk's report. Raises RuntimeError when it is not one."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    total = re.search(r"(\d+) requests in", text)
    if rate is None or total is None:
        raise RuntimeError(f"not a report of wrk:\n{text}")
    return Round(
        requests_per_s=float(rate[1]),
        cpu_us_per_request=used_s * 1e6 / max(int(total[1]), 1),
        p50_us=_quantile_us(text, 50),
        p99_us=_quantile_us(text, 99),
    )


def median_round(rounds: Sequence[Round]) -> Round:
    """Return the median of each figure on its own."""
    return Round(
        requests_per_s=statistics.median(item.requests_per_s for item in rounds),
        cpu_us_per_request=statistics.median(item.cpu_us_per_request for item in rounds),
        p50_us=statistics.median(item.p50_us for item in rounds),
        p99_us=statistics.median(item.p99_us for item in rounds),
    )


def _quantile_us(text: str, percent: int) -> float:
    match = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)\s*$", text, re.M)
    return round(float(match[1]) * _UNITS_S[match[2]] * 1e6, 1) if match else 0.0
