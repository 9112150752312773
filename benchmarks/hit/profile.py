"""Where a hit's CPU time goes: a sampled worker per case of the table.

    python -m benchmarks.hit.profile --only "h1"

Rules:
1. Only the mirror runs. Sampling costs it a few per cent, so rates from here are no results.
2. Shares are of the worker's samples between the beginning and the end of a case; the kernel's
   share is what it counted as system time.
3. Lines are told by file, function and text: line numbers change with every edit.

Runs in: benchmark (`make bench-full`).
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import linecache
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.hit import namespace
from benchmarks.hit.cases import TABLE, Case
from benchmarks.hit.rounds import Stage, attempt
from benchmarks.hit.servers import MIRROR, Server, mirror_alone, missing_programs
from benchmarks.hit.stages import stages
from benchmarks.results import ROOT, write_result

_SAMPLING = Path(__file__).parent / "sampling"
_LINES = 8
_TEXT_CHARACTERS = 60
Where = tuple[str, str, int]
Counts = collections.Counter[Where]


def main() -> int:
    """Profile the chosen cases and write a result."""
    arguments = _arguments()
    chosen = [case for case in TABLE if arguments.only in case.name and not case.kind.is_handshake]
    if {"wrk", "h2load"} & missing_programs().keys():
        print("wrk and h2load are needed (apt-get install wrk nghttp2-client)", file=sys.stderr)
        return 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        namespace.enter("reno")
    except namespace.NamespaceError as exc:
        print(f"no private network namespace: {exc}", file=sys.stderr)
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="bench-samples-") as samples:
        environment = {"SAMPLES": samples, "PYTHONPATH": str(_SAMPLING)}
        with stages(chosen, mirror_alone, environment=environment) as (running, found):
            for case in chosen:
                figures[case.name] = _profile(
                    case, found[case.objects], running[0], Path(samples), arguments.duration
                )
    if not arguments.only:
        print(f"written: {write_result('hit.profile', {'cases': figures}).name}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hit.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with TEXT in their name")
    parser.add_argument("--duration", type=float, default=8, help="seconds per case (8)")
    return parser.parse_args()


def _profile(
    case: Case, stage: Stage, server: Server, samples: Path, duration_s: float
) -> dict[str, object]:
    before, used_before = _samples(samples), _kernel_and_all_s(server)
    rounds = attempt(case, stage, [server], rounds=1, duration_s=duration_s, say=lambda _text: None)
    after, used_after = _samples(samples), _kernel_and_all_s(server)
    counts = busiest(before, after)
    total = max(counts.total(), 1)
    kernel_s, all_s = (later - first for later, first in zip(used_after, used_before, strict=True))
    lines = [
        {"share": round(count / total, 3), "where": _where(where), "text": _text(where)}
        for where, count in counts.most_common(_LINES)
    ]
    print(f"{case.name}: {total} samples, {kernel_s / max(all_s, 1e-9):.0%} in the kernel")
    for line in lines:
        print(f"  {line['share']:>6.1%}  {line['where']:<52}{line['text']}")
    return {
        "samples": total,
        "kernel_ratio": round(kernel_s / max(all_s, 1e-9), 3),
        "cpu_us_per_request": rounds[MIRROR][0].cpu_us_per_request,
        "lines": lines,
    }


def _samples(folder: Path) -> dict[int, Counts]:
    """Return what each sampled process has counted so far."""
    return {
        int(path.stem): collections.Counter({
            (file, name, line): count for file, name, line, count in json.loads(path.read_text())
        })
        for path in folder.glob("*.json")
    }  # fmt: skip


def busiest(before: Mapping[int, Counts], after: Mapping[int, Counts]) -> Counts:
    """Return what was counted in between, of the process that was sampled most: the worker."""
    found = [counts - before.get(pid, Counts()) for pid, counts in after.items()]
    return max(found, key=lambda counts: counts.total(), default=Counts())


def _kernel_and_all_s(server: Server) -> tuple[float, float]:
    """Return system time, and user and system time, of all processes of the mirror."""
    ticks = os.sysconf("SC_CLK_TCK")
    user = system = 0
    for pid in server.pids():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return system / ticks, (user + system) / ticks


def _where(where: Where) -> str:
    path, function, _ = where
    file = Path(path)
    inside = file.is_relative_to(ROOT / "mirror")
    return f"{file.relative_to(ROOT / 'mirror') if inside else file.name} {function}"


def _text(where: Where) -> str:
    if not where[2]:
        return "(the event loop, before it calls this)"
    if where[0] == "<string>":
        return "(written by dataclass or namedtuple)"
    return linecache.getline(where[0], where[2]).strip()[:_TEXT_CHARACTERS]


if __name__ == "__main__":
    sys.exit(main())
