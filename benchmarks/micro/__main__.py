"""Time the pure functions of the hit path.

    python -m benchmarks.micro                 all of them, and a result file
    python -m benchmarks.micro --only HTTP/2   those whose name contains it, no file
    python -m benchmarks.micro --list

A figure is a tight loop with warm caches: a floor, to compare two versions of a function with.
What a request costs is told by `benchmarks.hit`.

Runs in: benchmark (`make bench-full`).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys

from benchmarks.micro.subjects import SUBJECTS
from benchmarks.micro.timing import PROCESSES, VALUE_S, VALUES, Timing, timing_of, values_ns
from benchmarks.results import ROOT, write_result

_CORE = 0


def main() -> int:
    """Run the benchmark, or one process of it."""
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(_in_this_process(arguments.child, arguments.value_s)))
        return 0
    names = [name for name in SUBJECTS if arguments.only in name]
    if arguments.list:
        print("\n".join(names))
        return 0
    found: dict[str, object] = {}
    for name in names:
        timing = _in_processes(name, arguments.processes, arguments.value_s)
        found[name] = dataclasses.asdict(timing)
        print(f"{name:<46}{timing.median_ns:>10,.0f} ns ±{timing.mad_ns:>6,.0f}", flush=True)
    if not arguments.only:
        path = write_result("micro", {"processes": arguments.processes, "timings": found})
        print(f"written: {path.name}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.micro",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="names that contain TEXT")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--value-s", type=float, default=VALUE_S, help="least length of a value")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_this_process(name: str, value_s: float) -> list[float]:
    os.sched_setaffinity(0, {_CORE})
    return values_ns(SUBJECTS[name](), values=VALUES, value_s=value_s)


def _in_processes(name: str, processes: int, value_s: float) -> Timing:
    found: list[float] = []
    for _ in range(processes):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.micro", "--child", name, "--value-s", str(value_s)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{name}:\n{done.stderr}")
        found += json.loads(done.stdout)
    return timing_of(found)


if __name__ == "__main__":
    sys.exit(main())
