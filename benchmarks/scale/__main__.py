"""Print and keep how cost grows with objects, connections and workers.

Runs in: benchmark (`python -m benchmarks.scale`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.results import write_result
from benchmarks.rivals import is_installed
from benchmarks.scale import crowd, objects

_WITHOUT_WRK = "wrk is not installed (apt-get install wrk): connections are not measured"


def main() -> int:
    """Run the benchmark; with `--require` return 1 when a cost grows faster than it may, a look-up
    takes too long, or a request failed."""
    options = _options()
    found: dict[str, dict[str, object]] = {
        "objects": objects.measure(options.objects, folder=options.folder)
    }
    if is_installed("wrk"):
        found["connections"] = crowd.measure(options.connections)
    else:
        print(_WITHOUT_WRK)
    for name, figures in found.items():
        _print(name, figures)
    if options.save:
        print(f"written: {write_result('scale', dict(found)).name}")
    return 0 if all(map(is_met, found.values())) or not options.require else 1


def is_met(figures: Mapping[str, object]) -> bool:
    """Judge one part by its figures."""
    rows, grown = figures["rows"], figures["growth"]
    assert isinstance(rows, list)
    assert isinstance(grown, Mapping)
    failed = sum(row.get("errors", 0) for row in rows)
    is_quick = bool(figures.get("is_lookup_met", True))
    return is_quick and not failed and all(one["is_met"] for one in grown.values())


def _print(name: str, figures: Mapping[str, object]) -> None:
    rows, grown = figures["rows"], figures["growth"]
    assert isinstance(rows, list)
    assert isinstance(grown, Mapping)
    print(f"\n{name}")
    for row in rows:
        print("  " + ", ".join(f"{key} {value:g}" for key, value in row.items()))
    for cost, one in grown.items():
        verdict = "met" if one["is_met"] else "MISSED"
        print(f"  {cost}: exponent {one['exponent']}, at most {one['limit']}: {verdict}")


def _numbers(text: str) -> tuple[int, ...]:
    found = tuple(int(part) for part in text.split(","))
    if len(set(found)) < 2:
        raise argparse.ArgumentTypeError("growth needs two counts at least, as in 1000,10000")
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--objects", type=_numbers, default=objects.COUNTS, metavar="N,N,…")
    parser.add_argument("--connections", type=_numbers, default=crowd.CONNECTIONS, metavar="N,…")
    parser.add_argument("--folder", type=Path, help="where the stores lie; default: temporary")
    parser.add_argument("--require", action="store_true", help="fail when something is missed")
    parser.add_argument("--save", action="store_true", help="write a result file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
