"""A simulated upstream, a mirror before it, and releases while the jobs run.

Rules:
1. Digests are the simulator's own; the mirror begins with an empty store.
2. A release is announced to the jobs only when the mirror may no longer answer with a former one:
   so none that it wakes may get that. A job that is late may get the next one.
3. What the mirror says about mistakes of its own makes the run bad.

Units: seconds. Runs in: benchmark.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.load.board import publish
from benchmarks.load.catalogue import Catalogue
from benchmarks.load.records import JOBS
from benchmarks.load.run import Figures, Order, put_load
from benchmarks.load.stage import Stage
from benchmarks.load.survey import Publisher, survey_config, survey_crates, survey_toolchain
from benchmarks.processes import cpu_s
from mirror.simulator.process import SimulatorProcess, start_simulator
from tests.scenario.edge import Edge

_WORKERS = 2
# A toolchain of 3 MB: thirty times smaller than a real one, so that requests, not bytes, are many.
_PAYLOAD_SCALE = 4
_FRESH_S = 1.0
_SETTINGS = {
    "freshness.channel": f"{_FRESH_S:.0f}s",
    # Who asks for what is stale waits, and gets upstream's news (rule 2).
    "freshness.stale_while_revalidate": "0s",
}
_MARGIN_S = 0.5
_RELEASES_AT = (0.25, 0.6)  # of the run
_MANIFESTS = (
    "/dist/channel-rust-1.94.0.toml",
    "/dist/2026-05-16/channel-rust-nightly.toml",
    "/dist/2026-05-20/channel-rust-nightly.toml",
)
_STABLE = "/dist/channel-rust-stable.toml"
_ROOT_CRATE = "harvest"  # 130 crates are in its tree


def load_own_mirror(order: Order) -> Figures:
    """Start both, put the load on the mirror, end both. Raises: SurveyError, RuntimeError."""
    with (
        tempfile.TemporaryDirectory(prefix="load-") as folder,
        start_simulator(payload_scale=_PAYLOAD_SCALE) as simulator,
        Edge(Path(folder), simulator, workers=_WORKERS, settings=_SETTINGS) as mirror,
    ):
        stage = Stage(
            url=mirror.url, pause_s=order.pause_s, seconds=order.seconds,
            catalogue=_catalogue(simulator, mirror), awaited_jobs=(*JOBS, "stampede"),
        )  # fmt: skip
        pids = [mirror.process.pid, *mirror.pids().values()]
        used_s, began_at = cpu_s(pids), time.monotonic()
        found = put_load(
            order, stage, lambda shared: _publish_all(simulator, shared, order.seconds)
        )
        found["mirror_cpu_ratio"] = round((cpu_s(pids) - used_s) / (time.monotonic() - began_at), 3)
        found["mirror_workers"] = _WORKERS
        found["upstream_requests"] = simulator.control.counts()["total"]
        found["faults"] += [f"the mirror says: {line}" for line in mirror.own_faults()]
    return {**found, "is_good": not found["faults"]}


def _publisher(simulator: SimulatorProcess) -> Publisher:
    return Publisher(
        releases=simulator.releases_url, crates=simulator.crates_url, index=simulator.index_url
    )


def _catalogue(simulator: SimulatorProcess, mirror: Edge) -> Catalogue:
    publisher = _publisher(simulator)
    return Catalogue(
        toolchains=tuple(survey_toolchain(publisher, path) for path in _MANIFESTS),
        crates=survey_crates(publisher, [_ROOT_CRATE], follows=True, may_change=False),
        config=survey_config(mirror.url),
    )


def _publish_all(simulator: SimulatorProcess, folder: Path, seconds: float) -> None:
    """Publish each release at its time; the jobs learn of it as rule 2 says."""
    began_at = time.monotonic()
    publisher = _publisher(simulator)
    former = [survey_toolchain(publisher, _STABLE).digest.sha256]
    for number, share in enumerate(_RELEASES_AT, start=1):
        time.sleep(max(0.0, began_at + share * seconds - time.monotonic()))
        simulator.control.advance("stable")
        published_at = time.monotonic()
        release = survey_toolchain(publisher, _STABLE, may_change=True, former=tuple(former))
        former.append(release.digest.sha256)
        time.sleep(max(0.0, published_at + _FRESH_S + _MARGIN_S - time.monotonic()))
        publish(folder, number, release)
        print(f"rust {release.name} is out: every job asks for it", flush=True)
