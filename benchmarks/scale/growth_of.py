"""By which power of `n` a cost grows.

Rules:
1. The exponent is the slope of the least-squares line through the logarithms: 1 is linear, 0 is
   independent of `n`. Costs and counts are positive.
2. What many share (memory, the time of a start) may grow linearly. What each operation costs may
   grow like a search tree's depth: from 1,000 to 1,000,000 entries that doubles, exponent 0.1.

Units: none. Runs in: benchmark. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LINEAR_MAX = 1.1  # a tenth is what scatters
PER_OPERATION_MAX = 0.2  # a tree's depth, and what scatters


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the exponent of the costs in `points`, pairs of count and cost.

    Raises ValueError for fewer than two counts, or for what has no logarithm.
    """
    if len({count for count, _ in points}) < 2:
        raise ValueError("an exponent needs two counts at least")
    if any(count <= 0 or cost <= 0 for count, cost in points):
        raise ValueError("counts and costs must be positive")
    logs = [(math.log(count), math.log(cost)) for count, cost in points]
    mean_count = math.fsum(count for count, _ in logs) / len(logs)
    mean_cost = math.fsum(cost for _, cost in logs) / len(logs)
    shared = math.fsum((count - mean_count) * (cost - mean_cost) for count, cost in logs)
    return shared / math.fsum((count - mean_count) ** 2 for count, _ in logs)


def growth(points: Sequence[tuple[float, float]], limit: float) -> dict[str, object]:
    """Return the exponent with its limit and whether it holds."""
    found = exponent(points)
    return {"exponent": round(found, 3), "limit": limit, "is_met": found <= limit}
