"""How one function is timed: calibrated loops, several values, several processes.

Rules:
1. Loops are doubled until one value takes at least `VALUE_S`: the clock's step does not matter.
2. The first value of a process warms caches and specialised bytecode up and is not counted.
3. Several processes, because the layout of a process's memory and its hash seed move a figure by
   more than its own values differ.
4. The figure is the median of all values; ± is their median absolute deviation, which one disturbed
   value does not move.

Units: nanoseconds per call. Runs in: benchmark.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

VALUE_S: Final = 0.02
VALUES: Final = 5
PROCESSES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    median_ns: float
    mad_ns: float
    values: int


def values_ns(call: Callable[[], object], *, values: int, value_s: float) -> list[float]:
    """Time `call` in this process; return nanoseconds per call, the warm-up not among them."""
    loops = _calibrated(call, value_s)
    return [_timed_s(call, loops) / loops * 1e9 for _ in range(values + 1)][1:]


def timing_of(found: Sequence[float]) -> Timing:
    middle = statistics.median(found)
    mad = statistics.median(abs(value - middle) for value in found)
    return Timing(median_ns=round(middle, 1), mad_ns=round(mad, 1), values=len(found))


def _calibrated(call: Callable[[], object], value_s: float) -> int:
    loops = 1
    while _timed_s(call, loops) < value_s:
        loops *= 2
    return loops


def _timed_s(call: Callable[[], object], loops: int) -> float:
    began = time.perf_counter()
    for _ in itertools.repeat(None, loops):
        call()
    return time.perf_counter() - began
