"""How far the sampled miss-ratio curve is from an exact simulation of the same requests.

    python -m benchmarks.curve [--requests N] [--no-result]

Prints, for each trace and seed, the largest difference at nine store sizes and the cost of the
sample; for the last seed also the curve. Fails above two points.

Runs in: benchmark; about 50 s.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc

from benchmarks.curve_trace import (
    TraceShape,
    exact_curve,
    largest_difference,
    sampled_curve,
    trace_of,
)
from benchmarks.results import write_result
from mirror.accounting.curve import sizes_around
from mirror.accounting.history import CurvePoint
from mirror.config import Accounting

POINTS_MAX = 2.0
SEEDS = (1, 2, 3)
_MIB = 1 << 20


def shapes(requests: int) -> list[TraceShape]:
    crates = requests // 4
    return [
        TraceShape(name="builds", requests=requests, crates=crates),
        TraceShape(name="scans", requests=requests, crates=crates, scans=(0.3, 0.7)),
        TraceShape(name="flat", requests=requests, crates=crates, zipf=0.7, archive_share=0.005),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--no-result", action="store_true", help="print only")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    worst = 0.0
    print(f"{'trace':<8}{'seed':>5}{'uses':>9}{'held':>7}{'us/use':>8}{'points':>8}")
    for shape in shapes(options.requests):
        for seed in SEEDS:
            points, line = _one(shape, seed, is_shown=seed == SEEDS[-1])
            worst = max(worst, points)
            figures[f"{shape.name} {seed}"] = line
    figures["held_bytes_per_object"] = _memory(shapes(options.requests)[0])
    print(f"\nmost: {worst:.2f} points; memory: {figures['held_bytes_per_object']} B an object")
    if not options.no_result:
        print(write_result("curve", {"worst_points": round(worst, 2), "traces": figures}))
    return 0 if worst <= POINTS_MAX else 1


def _one(shape: TraceShape, seed: int, *, is_shown: bool) -> tuple[float, dict[str, float]]:
    uses, total_bytes = trace_of(shape, seed)
    sizes = sizes_around(total_bytes // 8)
    begun = time.process_time()
    sampled, curve = sampled_curve(uses, sizes, Accounting().sampled_objects)
    cost_us = 1e6 * (time.process_time() - begun) / len(uses)
    exact = exact_curve(uses, sizes)
    points = largest_difference(exact, sampled)
    print(f"{shape.name:<8}{seed:>5}{len(uses):>9}{len(curve):>7}{cost_us:>8.1f}{points:>8.2f}")
    if is_shown:
        _print_curve(exact, sampled)
    return points, {"points": round(points, 2), "us_per_use": round(cost_us, 1)}


def _print_curve(exact: list[CurvePoint], sampled: list[CurvePoint]) -> None:
    print(f"\n{'store MiB':>12}{'bytes':>9}{'sampled':>9}{'requests':>10}{'sampled':>9}  (%)")
    for one, other in zip(exact, sampled, strict=True):
        print(
            f"{one.store_bytes // _MIB:>12}{100 * one.byte_hit_ratio:>9.2f}"
            f"{100 * other.byte_hit_ratio:>9.2f}{100 * one.request_hit_ratio:>10.2f}"
            f"{100 * other.request_hit_ratio:>9.2f}"
        )
    print()


def _memory(shape: TraceShape) -> int:
    uses, total_bytes = trace_of(shape, SEEDS[0])
    uses = uses[: len(uses) // 4]
    tracemalloc.start()
    _, curve = sampled_curve(uses, sizes_around(total_bytes // 8), Accounting().sampled_objects)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held_bytes // max(1, len(curve))


if __name__ == "__main__":
    sys.exit(main())
