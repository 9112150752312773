"""Put the load of a busy day of continuous integration on a mirror, and check every body.

    make load                                  # 200 jobs, 5 minutes, simulator and mirror here
    make load LOAD_JOBS=500 LOAD_MINUTES=20
    make load TARGET=http://mirror:8080        # an operator's own mirror
    python -m benchmarks.load --jobs 20 --minutes 0.2
    python -m benchmarks.load --target https://mirror --crates names.txt --most-gib 2

Jobs: toolchain installs (a connection per request), cargo fetches (one HTTP/2 connection), updates
(mostly 304), slow readers and, with a mirror of its own, releases that all jobs ask for at once.

Exit status: 0 when nothing failed, no body was wrong, and every kind of job was seen; 1 otherwise;
2 when the run could not be made. `report.html` and `summary.json` are in --folder.

Runs in: benchmark (`make load`).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load.doors import door_of
from benchmarks.load.own_mirror import load_own_mirror
from benchmarks.load.records import JOBS
from benchmarks.load.run import LOCUST, Figures, Order, put_load
from benchmarks.load.stage import SUMMARY_NAME, Stage
from benchmarks.load.survey import SurveyError, survey
from benchmarks.results import ROOT, write_result

_CRATES = Path(__file__).parent / "crates.txt"
_FOLDER = ROOT / "build" / "load"
_SATURATED_TOLD = 0.05  # of the seconds


def main(arguments: Sequence[str]) -> int:
    """Run as told; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.save and options.target:
        parser.error("--save is for figures that others can repeat: leave it out with --target")
    if options.jobs < 1 or options.minutes <= 0 or options.pause < 0:
        parser.error("--jobs and --minutes must be above 0, --pause not below it")
    if options.archive_mib < 1 or options.most_gib <= 0:
        parser.error("--archive-mib and --most-gib must be above 0")
    if not LOCUST.exists():
        print("locust is not installed: `make load` installs it into .venv-load", file=sys.stderr)
        return 2
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        order = Order(
            jobs=options.jobs, seconds=options.minutes * 60, pause_s=options.pause,
            folder=options.folder.resolve(),
        )  # fmt: skip
        figures = _load_target(order, options) if options.target else load_own_mirror(order)
    except (SurveyError, RuntimeError, OSError, ValueError) as exc:
        print(f"no load was put on anything: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ended before its time; what had been seen until then is in the folder")
        return 1
    (options.folder / SUMMARY_NAME).write_text(json.dumps(figures, indent=1) + "\n")
    _tell(figures)
    if options.save:
        print(f"written: {write_result('load', figures).relative_to(ROOT)}")
    print(f"report: {options.folder / 'report.html'}")
    return 0 if figures["is_good"] else 1


def _load_target(order: Order, options: argparse.Namespace) -> Figures:
    """Say what an operator's mirror will be asked for, then ask it."""
    url = options.target.rstrip("/")
    door_of(url)
    names = options.crates.read_text().splitlines()
    catalogue = survey(
        url,
        [name.strip() for name in names if name.strip() and not name.startswith("#")],
        channel=options.channel,
        archive_bytes=options.archive_mib << 20,
    )
    most_bytes = max(1, round(options.most_gib * (1 << 30)))
    (toolchain,) = catalogue.toolchains
    print(
        f"{options.jobs} jobs ask {url} for {options.minutes:g} minutes: rust {toolchain.name} "
        f"({len(toolchain.archives)} archives, {toolchain.length_bytes >> 20} MiB) and "
        f"{len(catalogue.crates)} crates.\n"
        f"With an empty store it fetches at most {(catalogue.length_bytes >> 20) + 1} MiB from its "
        f"upstream. It sends at most {options.most_gib:g} GiB to this machine; then the run ends.",
        flush=True,
    )
    stage = Stage(
        url=url, pause_s=order.pause_s, seconds=order.seconds, catalogue=catalogue,
        awaited_jobs=JOBS, most_bytes=most_bytes,
    )  # fmt: skip
    found = put_load(order, stage)
    return {**found, "is_good": not found["faults"]}


def _tell(figures: Figures) -> None:
    print(f"{'request':<20}{'requests':>10}{'failed':>8}{'wrong':>8}{'p50 ms':>8}{'p99 ms':>8}")
    for name, row in figures["names"].items():
        print(
            f"{name:<20}{row['requests']:>10}{row['failed']:>8}{row['wrong']:>8}"
            f"{row['p50_ms']:>8.0f}{row['p99_ms']:>8.0f}"
        )
    busy, saturated = figures["client_cpu_ratio"], figures["client_saturated_ratio"]
    print(
        f"jobs: {figures['jobs']}, at most {figures['most_jobs_under_way']} at once; "
        f"{figures['received_bytes'] >> 20} MiB; client at {100 * busy:.0f} % of a core"
    )
    if "mirror_cpu_ratio" in figures:
        print(f"the mirror used {100 * figures['mirror_cpu_ratio']:.0f} % of a core")
    if saturated > _SATURATED_TOLD:
        print(
            f"the client had no processor time left in {100 * saturated:.0f} % of the seconds: "
            "times are then its own, not the mirror's (fewer --jobs, or a longer --pause)"
        )
    for name, examples in figures["reasons"].items():
        for example in examples:
            print(f"  {name}: {example}")
    for fault in figures["faults"]:
        print(f"NOT GOOD: {fault}")
    print("good" if figures["is_good"] else "NOT GOOD")


def _parser() -> argparse.ArgumentParser:
    title, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=title,
        epilog=examples.partition("Runs in:")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--jobs", type=int, default=200, help="simulated jobs at once (200)")
    add("--minutes", type=float, default=5.0, help="how long jobs begin (5)")
    add("--pause", type=float, default=10.0, help="seconds that a job rests in all (10)")
    add("--target", default="", help="URL of a mirror; without it simulator and mirror run here")
    add("--folder", type=Path, default=_FOLDER, help="for report.html and summary.json")
    add("--save", action="store_true", help="write the figures into benchmarks/results, too")
    target = parser.add_argument_group("with --target")
    add = target.add_argument
    add("--channel", default="stable", help="the release that is installed (stable)")
    add("--crates", type=Path, default=_CRATES, help="file of crates' names, one a line")
    add("--archive-mib", type=int, default=64, help="archives of the release in all (64)")
    add("--most-gib", type=float, default=20, help="the run ends when so much has come (20)")
    return parser


def _terminated(*_: object) -> None:
    """End as Ctrl-C does, so that what was started here ends, too."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main(sys.argv[1:]))
