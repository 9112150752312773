"""Hits beside nginx and Varnish, and the table of what must be reached.

    python -m benchmarks.hit                  the rows of the table, below 15 minutes
    python -m benchmarks.hit --matrix         every protocol, size and number of URIs
    python -m benchmarks.hit --only "h2c"     the cases whose name contains it
    python -m benchmarks.hit --list           what would be measured

Everything runs on 127.0.0.1 in a private network namespace with reno, in a temporary folder.
Programs that are not installed are named with their package and left out; nothing is installed.

Runs in: benchmark (`make bench`, `make bench-full`).
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.hit import namespace, servers
from benchmarks.hit.cases import TABLE, Case, describe, matrix
from benchmarks.hit.further_rows import FurtherRow, further_rows
from benchmarks.hit.round import median_round
from benchmarks.hit.rounds import Attempt, attempt, least_s
from benchmarks.hit.stages import say, stages
from benchmarks.hit.table import print_case, print_table
from benchmarks.hit.verdict import REQUIREMENTS, Row, needs_another, row_of
from benchmarks.results import FOLDER, write_result

# A row of the table is repeated only where all that is left still ends by then: `make bench` has
# 15 minutes, of which cold fill and memory take two at most. The matrix has no such end.
REPEAT_UNTIL_S = 720.0


def main() -> int:
    """Run the benchmark; with `--require` return 1 when a row is not met."""
    arguments = _arguments()
    chosen = [case for case in (matrix() if arguments.matrix else TABLE)
              if arguments.only in case.name]  # fmt: skip
    if arguments.list:
        print("\n".join(describe(case) for case in chosen))
        return 0
    if not chosen:
        print(f"no case has {arguments.only!r} in its name: see --list", file=sys.stderr)
        return 2
    if not _has_clients():
        return 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log shows each case as it ends
    try:
        congestion = _enter(arguments.congestion)
    except namespace.CongestionError as exc:
        print(exc, file=sys.stderr)
        return 2
    began = time.monotonic()
    measured = _measure(chosen, arguments, began)
    further = [] if arguments.only or arguments.skip_further else further_rows(say)
    rows = [row_of(item, measured.get(item.case, [])) for item in REQUIREMENTS
            if item.case in chosen]  # fmt: skip
    rows += [row for item in further for row in item.rows]
    print_table(rows)
    figures = _figures(arguments, congestion, measured, rows, further)
    path = write_result("hit", figures, arguments.into)
    print(f"\n{time.monotonic() - began:.0f} s, {congestion}; written: {path.name}")
    print(f"into the documents: python -m benchmarks.publish {path.name}")
    return 1 if arguments.require and any(row.outcome != "met" for row in rows) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--matrix", action="store_true", help="every case, not only the table's")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with TEXT in their name")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    parser.add_argument("--rounds", type=int, default=3, help="per attempt (3)")
    parser.add_argument("--duration", type=float, default=3, help="seconds per round (3)")
    parser.add_argument(
        "--congestion",
        default="reno",
        help="congestion control in a private namespace (reno); 'default': the machine's own",
    )
    parser.add_argument(
        "--skip-further", action="store_true", help="leave out the rows of cold fill and memory"
    )
    parser.add_argument(
        "--into", type=Path, default=FOLDER, metavar="FOLDER", help="where the result goes"
    )
    parser.add_argument("--require", action="store_true", help="fail when a row is not met")
    return parser.parse_args()


def _has_clients() -> bool:
    """Say what is missing; without the clients nothing can be measured."""
    missing = servers.missing_programs()
    for program, package in missing.items():
        print(f"{program} is not installed (Debian: apt-get install {package})", file=sys.stderr)
    if {"wrk", "h2load"} & missing.keys():
        print("nothing measured: the load clients are needed", file=sys.stderr)
        return False
    return True


def _enter(wanted: str) -> str:
    """Return what the result says of the network: the control, and whether it is private."""
    if wanted == "default":
        return f"{namespace.congestion()} (the machine's default)"
    try:
        namespace.enter(wanted)
    except namespace.NamespaceError as exc:
        print(f"no private network namespace: {exc}", file=sys.stderr)
        return f"{namespace.congestion()} (the machine's default; no namespace: {exc})"
    return f"{wanted} (private network namespace)"


def _measure(
    chosen: Sequence[Case], arguments: argparse.Namespace, began: float
) -> dict[Case, list[Attempt]]:
    found: dict[Case, list[Attempt]] = {}
    starts = servers.and_static if arguments.matrix else servers.servers
    with stages(chosen, starts) as (running, found_stages):
        for number, case in enumerate(chosen):
            attempts: list[Attempt] = []
            left_s = sum(
                least_s(one, running, rounds=arguments.rounds, duration_s=arguments.duration)
                for one in chosen[number:]
            )
            while not attempts or (
                needs_another(case, attempts)
                and (arguments.matrix or time.monotonic() - began + left_s < REPEAT_UNTIL_S)
            ):
                attempts.append(
                    attempt(
                        case,
                        found_stages[case.objects],
                        running,
                        rounds=arguments.rounds,
                        duration_s=arguments.duration,
                        say=say,
                    )
                )
            found[case] = attempts
            print_case(case, attempts[-1])
    return found


def _figures(
    arguments: argparse.Namespace,
    congestion: str,
    measured: dict[Case, list[Attempt]],
    rows: Sequence[Row],
    further: Sequence[FurtherRow],
) -> dict[str, object]:
    return {
        "network": congestion,
        "is_matrix": arguments.matrix,
        "is_whole": not arguments.only and (arguments.matrix or not arguments.skip_further),
        "rounds": arguments.rounds,
        "duration_s": arguments.duration,
        "rows": [row.as_json() for row in rows],
        "cases": {case.name: _case_figures(case, attempts) for case, attempts in measured.items()},
        "further": {item.name: item.figures for item in further},
    }


def _case_figures(case: Case, attempts: Sequence[Attempt]) -> dict[str, object]:
    return {
        "content_bytes": case.objects.size,
        "uris": case.objects.count,
        "connections": case.connections,
        "streams": case.streams,
        "medians": {
            name: dataclasses.asdict(median_round(found)) for name, found in attempts[-1].items()
        },
        "attempts": [
            {name: [dataclasses.asdict(item) for item in found] for name, found in rounds.items()}
            for rounds in attempts
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
