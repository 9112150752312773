"""Byte hit ratios of the eviction policy in force beside those of LRU, on CI-shaped traces.

    python -m benchmarks.eviction [--rivals] [--seeds N] [--no-result]

Stores of 1 %, 5 % and 20 % of the working set, six shapes, three seeds each (`ci_traces`). Prints
by how many points the policy is ahead of LRU; with --rivals the same of other policies, and what a
restart in the middle costs. Fails when it is behind in the mean or on the shape with scans at any
size, or more than half a point behind anywhere.

Runs in: benchmark; about a minute and a half on two cores, five times that with --rivals.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import fmean

from benchmarks.ci_traces import SEEDS, SHAPES, CiShape, trace_of
from benchmarks.eviction_replay import Hits, ReplayedStore, replay, working_set_bytes
from benchmarks.eviction_rivals import RIVALS
from benchmarks.results import write_result
from mirror.store.eviction import LeastRecentlyUsed, policy_in_force

SIZES = (0.01, 0.05, 0.2)
MOST_BEHIND = 0.5  # points
LRU, IN_FORCE = "lru", "in force"
RESTARTED, LOST = "in force, restarted", "in force, index lost"
_RESTART_AT = 0.5

Case = tuple[str, int, float]  # shape, seed, part of the working set
Figures = dict[str, dict[Case, Hits]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rivals", action="store_true", help="measure other policies too")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="of each shape")
    parser.add_argument("--no-result", action="store_true", help="print only")
    options = parser.parse_args()
    names = [LRU, IN_FORCE, *([RESTARTED, LOST, *RIVALS] if options.rivals else [])]
    figures = measure(names, SEEDS[: options.seeds])
    tables = {name: against_lru(figures, name) for name in names[1:]}
    for name, table in tables.items():
        print_table(name, table, fmean(h.request_ratio for h in figures[name].values()))
    failures = failures_of(tables[IN_FORCE])
    print("\n".join(failures) or "\nahead of LRU wherever it must be")
    if not options.no_result:
        path = write_result("eviction", {"points_ahead": tables, "ratios": _ratios(figures)})
        print(path)
    return 1 if failures else 0


def measure(names: Sequence[str], seeds: Sequence[int]) -> Figures:
    """Return the hit ratios of the policies named, by case."""
    jobs = [(shape, seed, tuple(names)) for shape in SHAPES for seed in seeds]
    figures: Figures = {name: {} for name in names}
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for found in processes.map(_measured, jobs):
            for name, cases in found.items():
                figures[name].update(cases)
    return figures


def against_lru(figures: Figures, name: str) -> dict[str, dict[str, float]]:
    """Return points of byte hit ratio ahead of LRU: by shape (the mean of its seeds), over all
    (`mean`), and the least of all (`worst`); each by size."""
    ahead = {case: figures[name][case].byte_ratio - lru.byte_ratio
             for case, lru in figures[LRU].items()}  # fmt: skip
    shapes = dict.fromkeys(shape for shape, _, _ in ahead)
    rows = {shape: {case: p for case, p in ahead.items() if case[0] == shape} for shape in shapes}
    table = {shape: _by_size(cases, fmean) for shape, cases in rows.items()}
    return {**table, "mean": _by_size(ahead, fmean), "worst": _by_size(ahead, min)}


def failures_of(table: dict[str, dict[str, float]]) -> list[str]:
    """Return what the policy must reach and does not."""
    behind = [
        f"{row}: {points:+.2f} points at {size}"
        for row in ("mean", "scans")
        for size, points in table[row].items()
        if points <= 0
    ]
    return behind + [
        f"worst: {points:+.2f} points at {size}"
        for size, points in table["worst"].items()
        if points < -MOST_BEHIND
    ]


def print_table(name: str, table: dict[str, dict[str, float]], requests: float) -> None:
    print(f"\n{name}: points of byte hit ratio ahead of LRU ({requests:.1f} % of all requests hit)")
    print(" " * 12 + "".join(f"{size:>9}" for size in table["mean"]))
    for row, by_size in table.items():
        print(f"{row:<12}" + "".join(f"{points:>+9.2f}" for points in by_size.values()))


def _by_size(ahead: dict[Case, float], summed: Callable[[list[float]], float]) -> dict[str, float]:
    return {
        f"{size:.0%}": round(summed([p for (*_, part), p in ahead.items() if part == size]), 2)
        for size in SIZES
    }


def _measured(job: tuple[CiShape, int, tuple[str, ...]]) -> Figures:
    shape, seed, names = job
    trace = trace_of(shape, seed)
    whole = working_set_bytes(trace)
    found: Figures = {name: {} for name in names}
    for part in SIZES:
        size = int(part * whole)
        for name in names:
            if name in RIVALS:
                hits = replay(trace, RIVALS[name](size))
            else:
                policy = LeastRecentlyUsed() if name == LRU else policy_in_force()
                hits = replay(
                    trace, ReplayedStore(size, policy),
                    _RESTART_AT if name in {RESTARTED, LOST} else None,
                    keeps_ranks=name != LOST,
                )  # fmt: skip
            found[name][shape.name, seed, part] = hits
    return found


def _ratios(figures: Figures) -> dict[str, dict[str, list[float]]]:
    """Byte and request hit ratio of every case, for whoever compares later."""
    return {
        name: {
            f"{shape} {seed} {part:.0%}": [round(h.byte_ratio, 2), round(h.request_ratio, 2)]
            for (shape, seed, part), h in cases.items()
        }
        for name, cases in figures.items()
    }


if __name__ == "__main__":
    sys.exit(main())
