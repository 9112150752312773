"""Warm hits of small objects: the mirror with one worker beside nginx and Varnish.

Rules:
1. Every server is pinned to core 0 and wrk to core 1; all run at once, one is loaded at a time.
2. Rounds are interleaved (A B C A B C); figures are medians, ratios are to nginx in this run.
3. Before a round counts, each server's answer is compared with the upstream's bytes, and the mirror
   must call it a hit.
4. A server that is not installed is said to be absent, never guessed.

Runs in: benchmark (`python -m benchmarks.run`, `make bench`).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import rivals
from benchmarks.edge import edge
from benchmarks.load import Round, measure, median_round
from benchmarks.processes import Running, descendants
from benchmarks.results import write_result
from mirror.simulator.process import SimulatorProcess, start_simulator

BASELINE = "nginx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    name: str
    base: str
    pids: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    target: str  # the same for every server
    content: bytes


def main() -> int:
    """Run the benchmark; return 1 when a required ratio is missed."""
    arguments = _arguments()
    if not rivals.is_installed("wrk"):
        print("wrk is not installed: nothing measured (Debian: apt-get install wrk nginx varnish)")
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, start_simulator() as simulator:
        cases = [
            _index_case(simulator, "2 KB index file", "benchtwo", 2_000),
            _index_case(simulator, "40 KB index file", "benchforty", 40_000),
        ]
        with _servers(Path(folder), simulator) as servers:
            figures = {case.name: _case(case, servers, arguments) for case in cases}
    path = write_result("run", {"rounds": arguments.rounds, "cases": figures})
    print(f"\nwritten: {path.name}")
    return _verdict(figures, arguments.require_ratio)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", type=int, default=3, help="seconds per round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument(
        "--require-ratio", type=float, default=0.0, help="fail when 2 KB is below this x nginx"
    )
    return parser.parse_args()


def _index_case(simulator: SimulatorProcess, name: str, crate: str, wanted_bytes: int) -> Case:
    """Publish versions of `crate` until its index file is about `wanted_bytes` long."""
    path = f"/{crate[:2]}/{crate[2:4]}/{crate}"
    simulator.control.publish_crate(crate, "1.0.0")
    line_bytes = len(_get(simulator.index_url + path)[0])
    for patch in range(1, max(round(wanted_bytes / line_bytes), 1)):
        simulator.control.publish_crate(crate, f"1.0.{patch}")
    content, _ = _get(simulator.index_url + path)
    return Case(name=name, target=f"/index{path}", content=content)


@contextlib.contextmanager
def _servers(folder: Path, simulator: SimulatorProcess) -> Iterator[list[Server]]:
    with contextlib.ExitStack() as stack:
        mirror = stack.enter_context(
            edge(folder / "mirror", simulator, workers=1, core=rivals.SERVER_CORE)
        )
        servers = [Server(name="mirror", base=mirror.base, pids=mirror.pids())]

        def add(name: str, started: tuple[Running, str]) -> None:
            running, base = started
            pids = [running.pid, *descendants(running.pid)]
            servers.append(Server(name=name, base=base, pids=pids))

        nginx = functools.partial(
            rivals.nginx, index_url=simulator.index_url, releases_url=simulator.releases_url
        )
        if rivals.is_installed("nginx"):
            add(BASELINE, stack.enter_context(nginx(folder / "nginx")))
            open_files = nginx(folder / "nginx-open", keeps_files_open=True)
            add("nginx, files kept open", stack.enter_context(open_files))
        if rivals.is_installed("varnishd"):
            varnish = rivals.varnish(folder / "varnish", upstream_url=simulator.index_url)
            add("varnish", stack.enter_context(varnish))
        for name in ("nginx", "varnishd"):
            if not rivals.is_installed(name):
                print(f"{name} is not installed: no comparison with it")
        yield servers


def _case(case: Case, servers: list[Server], arguments: argparse.Namespace) -> dict[str, object]:
    for server in servers:
        _warm(server, case)
    rounds: dict[str, list[Round]] = {server.name: [] for server in servers}
    for number in range(arguments.rounds):
        for server in servers:
            if sys.stdout.isatty():
                print(f"\r{case.name}: round {number + 1}, {server.name:<24}", end="", flush=True)
            rounds[server.name].append(
                measure(
                    server.base + case.target,
                    server.pids,
                    connections=arguments.connections,
                    duration_s=arguments.duration,
                )
            )
    medians = {name: median_round(found) for name, found in rounds.items()}
    _print(case, medians)
    return {
        "target": case.target,
        "content_bytes": len(case.content),
        "connections": arguments.connections,
        "duration_s": arguments.duration,
        "medians": {name: dataclasses.asdict(item) for name, item in medians.items()},
        "ratios": _ratios(medians),
        "rounds": {name: [dataclasses.asdict(r) for r in found] for name, found in rounds.items()},
    }


def _warm(server: Server, case: Case) -> None:
    """Ask until the answer is stored. Raises RuntimeError for other bytes or no hit."""
    for _ in range(3):
        content, status = _get(server.base + case.target)
        if content != case.content:
            raise RuntimeError(f"{server.name} answers other bytes for {case.target}")
    if server.name == "mirror" and "hit" not in status:
        raise RuntimeError(f"the mirror's third answer for {case.target} is no hit: {status!r}")


def _get(url: str) -> tuple[bytes, str]:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read(), answer.headers.get("Cache-Status", "")


def _ratios(medians: dict[str, Round]) -> dict[str, float]:
    mirror = medians["mirror"]
    return {
        name: round(mirror.requests_per_s / other.requests_per_s, 3)
        for name, other in medians.items()
        if name != "mirror"
    }


def _print(case: Case, medians: dict[str, Round]) -> None:
    start = "\r" if sys.stdout.isatty() else ""
    print(f"{start}{case.name} ({len(case.content)} bytes)".ljust(60))
    print(f"  {'':<24}{'requests/s':>12}{'CPU µs/req':>12}{'p50 µs':>10}{'p99 µs':>10}")
    for name, item in medians.items():
        print(
            f"  {name:<24}{item.requests_per_s:>12.0f}{item.cpu_us_per_request:>12.1f}"
            f"{item.p50_us:>10.0f}{item.p99_us:>10.0f}"
        )
    for name, ratio in _ratios(medians).items():
        print(f"  mirror / {name}: {ratio:.2f}")


def _verdict(figures: dict[str, dict[str, object]], required: float) -> int:
    ratios = next(iter(figures.values()))["ratios"]
    if not required or not isinstance(ratios, dict):
        return 0
    if BASELINE not in ratios:
        print("no nginx in this run: the required ratio cannot be shown")
        return 1
    is_met = ratios[BASELINE] >= required
    print(f"required: {required} x {BASELINE}; {'met' if is_met else 'MISSED'}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
