"""The load clients: wrk for HTTP/1.1, h2load for HTTP/2, each one thread on a core of its own.

Rules:
1. Client and server never share a core.
2. An answer other than 2xx or 3xx, or a socket error, raises.
3. Figures come from exact counts, not from rounded ones of a report for people.

Units: seconds. Runs in: benchmark.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.hit.round import Load

CLIENT_CORE = 1
_SCRIPT = Path(__file__).with_name("wrk.lua")
_GRACE_S = 60
_FINISHED = re.compile(r"^finished in ([\d.]+)(us|ms|s),", re.M)
_REQUESTS = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_TRAFFIC = re.compile(r"^traffic: .*\((\d+)\) data$", re.M)
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def wrk(
    base: str, targets: Path, *, connections: int, duration_s: float, fields: Sequence[str] = ()
) -> tuple[Load, float]:
    """Load `base` over HTTP/1.1; return what was got and the client's CPU seconds.

    Raises: RuntimeError when wrk fails or saw errors.
    """
    with targets.open() as lines:
        first = lines.readline().strip()
    text, cpu = _run([
        "wrk", "-t1", f"-c{connections}", f"-d{duration_s:.0f}s", "--timeout", "30s",
        "-s", str(_SCRIPT), "-H", "User-Agent: wrk",
        *(part for field in fields for part in ("-H", field)),
        base + first, "--", str(targets),
    ], duration_s)  # fmt: skip
    return parse_wrk(text), cpu


def h2load(
    base: str, targets: Path, *, connections: int, streams: int, duration_s: float
) -> tuple[Load, float]:
    """Load `base` over HTTP/2 (prior knowledge, or ALPN); return load and client CPU seconds.

    Raises: RuntimeError when h2load fails or saw errors.
    """
    text, cpu = _run([
        "h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{duration_s:.0f}",
        "--warm-up-time=0", "-B", base, "-i", str(targets),
    ], duration_s)  # fmt: skip
    return parse_h2load(text), cpu


def parse_wrk(text: str) -> Load:
    """Read the line of `wrk.lua`. Raises: RuntimeError when it is absent or tells of errors."""
    found = re.search(r"^figures: (\{.*\})$", text, re.M)
    if found is None:
        raise RuntimeError(f"not a report of wrk with wrk.lua:\n{text}")
    figures = json.loads(found[1])
    if figures["status"] or figures["socket"]:
        raise RuntimeError(f"wrk saw errors:\n{text}")
    return Load(
        requests=figures["requests"],
        received_bytes=figures["bytes"],
        duration_s=figures["us"] / 1e6,
        p50_us=figures["p50_us"],
        p99_us=figures["p99_us"],
    )


def parse_h2load(text: str) -> Load:
    """Read h2load's report. Raises: RuntimeError when it is none or tells of errors."""
    finished, counts = _FINISHED.search(text), _REQUESTS.search(text)
    traffic = _TRAFFIC.search(text)
    if finished is None or counts is None or traffic is None:
        raise RuntimeError(f"not a report of h2load:\n{text}")
    if any(int(count) for count in counts.groups()[1:]):
        raise RuntimeError(f"h2load saw errors:\n{text}")
    return Load(
        requests=int(counts[1]),
        received_bytes=int(traffic[1]),
        duration_s=float(finished[1]) * _UNITS_S[finished[2]],
    )


def _run(command: list[str], duration_s: float) -> tuple[str, float]:
    before = os.times()
    done = subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), *command],
        capture_output=True, text=True, check=False, timeout=duration_s + _GRACE_S,
    )  # fmt: skip
    after = os.times()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    used_s = after.children_user + after.children_system
    return done.stdout, used_s - before.children_user - before.children_system
