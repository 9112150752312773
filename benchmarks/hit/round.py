"""One measured round: what a client got through and what it cost the server.

Rules:
1. CPU time is the scheduler's count for all processes of a server, over the client's own number of
   requests or bytes.
2. A round with a failed request raises: it measured something else.
3. A figure's scatter is (largest − smallest) / median of its rounds.

Units: seconds, MB of 1,000,000 bytes, microseconds where named. Runs in: benchmark. Pure.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

_MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the client says: requests that succeeded, bytes it read, and how long it took."""

    requests: int
    received_bytes: int
    duration_s: float
    p50_us: float = 0.0  # 0: the client does not tell
    p99_us: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    requests_per_s: float
    mb_per_s: float
    cpu_us_per_request: float
    cpu_us_per_mb: float
    server_busy_ratio: float  # of one core
    client_busy_ratio: float  # near 1: the client is the limit, not the server
    p50_us: float
    p99_us: float


def round_of(load: Load, *, server_cpu_s: float, client_cpu_s: float) -> Round:
    """Raises: RuntimeError when nothing was answered."""
    if not load.requests or not load.duration_s:
        raise RuntimeError("the client got no answer")
    return Round(
        requests_per_s=round(load.requests / load.duration_s, 2),
        mb_per_s=round(load.received_bytes / _MB / load.duration_s, 2),
        cpu_us_per_request=round(server_cpu_s * 1e6 / load.requests, 3),
        cpu_us_per_mb=round(server_cpu_s * 1e6 / max(load.received_bytes / _MB, 1e-9), 2),
        server_busy_ratio=round(server_cpu_s / load.duration_s, 3),
        client_busy_ratio=round(client_cpu_s / load.duration_s, 3),
        p50_us=load.p50_us,
        p99_us=load.p99_us,
    )


def median_round(rounds: Sequence[Round]) -> Round:
    """Return the median of each figure on its own."""
    columns = [asdict(item) for item in rounds]
    return Round(**{name: statistics.median(row[name] for row in columns) for name in columns[0]})


def scatter(figures: Sequence[float]) -> float:
    """Return (largest − smallest) / median; 0 for figures that are all 0."""
    middle = statistics.median(figures)
    return (max(figures) - min(figures)) / middle if middle else 0.0
