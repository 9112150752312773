"""The mirror, nginx `proxy_cache` (lock on) and Varnish before one origin, scenario by scenario.

Rules:
1. One run, one machine, one origin; each cache has two workers or threads enough, none is pinned.
2. A cache that is not installed is said to be absent.
3. With `--require` the exit status is 1 when the mirror misses what it promises.

Runs in: benchmark (`python -m benchmarks.behaviour`).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import rivals
from benchmarks.behaviour import cargo
from benchmarks.behaviour.scenarios import SCENARIOS, Figures, Origin, Scenario
from benchmarks.edge import edge
from benchmarks.results import write_result
from mirror.simulator.process import SimulatorProcess, start_simulator

MIRROR = "mirror"
_READY = "/manifests.txt"  # of the releases host


def main() -> int:
    """Run every scenario; return 1 when `--require` is given and a promise is missed."""
    arguments = _arguments()
    met: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, start_simulator() as simulator:
        date = simulator.control.state()["releases"][0]["date"]
        origin = Origin(simulator=simulator, date=date)
        with _caches(Path(folder), simulator) as caches:
            figures: dict[str, object] = {}
            for scenario in SCENARIOS:
                seen = {name: scenario.run(origin, base) for name, base in caches.items()}
                met[scenario.name] = scenario.is_met(seen[MIRROR])
                figures[scenario.name] = seen
                _print(scenario, seen, is_met=met[scenario.name])
    fetches = cargo.measure(arguments.rounds)
    figures[cargo.NAME] = fetches
    met[cargo.NAME] = cargo.report(fetches)
    path = write_result("behaviour", {"scenarios": figures, "met": met})
    print(f"\nwritten: {path.name}")
    return 0 if all(met.values()) or not arguments.require else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.behaviour", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of cargo fetch, per protocol")
    parser.add_argument("--require", action="store_true", help="fail when a promise is missed")
    return parser.parse_args()


@contextlib.contextmanager
def _caches(folder: Path, simulator: SimulatorProcess) -> Iterator[dict[str, str]]:
    """Yield the base URL of each cache by its name."""
    with contextlib.ExitStack() as stack:
        mirror = stack.enter_context(edge(folder / MIRROR, simulator, workers=2))
        caches = {MIRROR: mirror.base}
        if rivals.is_installed("nginx"):
            _, caches["nginx"] = stack.enter_context(
                rivals.nginx(
                    folder / "nginx",
                    index_url=simulator.index_url,
                    releases_url=simulator.releases_url,
                    has_lock=True,
                    core=None,
                )
            )
        if rivals.is_installed("varnishd"):
            _, caches["varnish"] = stack.enter_context(
                rivals.varnish(
                    folder / "varnish",
                    upstream_url=simulator.releases_url,
                    ready=_READY,
                    core=None,
                )
            )
        for name in ("nginx", "varnishd"):
            if not rivals.is_installed(name):
                print(f"{name} is not installed: no comparison with it")
        yield caches


def _print(scenario: Scenario, seen: dict[str, Figures], *, is_met: bool) -> None:
    print(f"\n{scenario.name}")
    for name, figures in seen.items():
        shown = ", ".join(f"{key} {value}" for key, value in figures.items())
        print(f"  {name:<8} {shown}")
    print(f"  promise: {scenario.promise}: {'met' if is_met else 'MISSED'}")


if __name__ == "__main__":
    sys.exit(main())
