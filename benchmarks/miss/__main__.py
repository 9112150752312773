"""Print and keep what misses cost.

Runs in: benchmark (`python -m benchmarks.miss`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.miss import cold_fill, small_misses
from benchmarks.results import write_result


def main() -> int:
    """Run the benchmark; with `--require` return 1 when the cold fill's ratio is missed."""
    options = _options()
    fill = cold_fill.measure(rounds=options.rounds, size=options.size, folder=options.folder)
    print(
        f"cold fill of {fill['content_bytes']} bytes to {fill['followers']} followers:"
        f" {fill['mb_per_s']} MB/s, {fill['ratio']} of the smaller of disk and sha256"
        f" (needed {fill['required_ratio']}, spread {fill['spread_ratio']}, upstream"
        f" {fill['upstream']})"
    )
    small = small_misses.measure(folder=options.folder)
    for kind, figures in small.items():
        print(f"small misses, {kind}: {figures}")
    if options.save:
        print(f"written: {write_result('miss', {'cold_fill': fill, 'small': small}).name}")
    return 0 if fill["is_met"] or not options.require else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miss", description=__doc__)
    parser.add_argument("--rounds", type=int, default=cold_fill.ROUNDS)
    parser.add_argument("--size", default=cold_fill.SIZE, help="as the simulator names it")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: temporary")
    parser.add_argument("--require", action="store_true", help="fail when the ratio is missed")
    parser.add_argument("--save", action="store_true", help="write a result file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
