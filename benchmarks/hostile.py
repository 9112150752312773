"""Hostile clients beside good ones: no error, no wrong body, and how much later a hit comes.

    python -m benchmarks.hostile [SECONDS [PHASE_SECONDS]]

Rules:
1. Phases alternate within one run: alone, hostile, alone, … A machine that is busy with other
   things is so in both. Each phase is timed after `SETTLE_S`, but judged for errors throughout.
2. The figure is the median, over the hostile phases, of the p99 of good hits divided by the mean of
   those of the two phases around it; "pooled" is the same of all phases of a kind together. Judged
   are those around which the processors had `IDLE_RATIO` of their time left, when there are
   `JUDGED_PHASES`: where other programs take all of it, the scheduler decides how late a hit is.
   How idle they are while hostile clients are there excuses nothing.
3. Everybody comes from loopback, which is exempt from every limit per client: nothing holds the
   hostile ones back but what protects the mirror from any client. The time limits of `SETTINGS` are
   shorter than by default, so that phases of seconds see connections cut.
4. Memory and open files are looked at at the end of the phases in which the good ones are alone,
   and compared with those before the first hostile phase. The slope of memory is that of the second
   half of the run, and judged when that lasts `JUDGED_S`: before, the noise is more than what is
   allowed. A run that may be judged begins with full tables (`full_tables`).
5. Before the run the good clients are shown wrong bodies over both versions of HTTP, and must
   notice.

Units: seconds, bytes. Runs in: benchmark, tests.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import full_tables
from benchmarks.growth import Sample, growth, rss_slopes, sample
from benchmarks.hostile_child import Child, Figures
from benchmarks.hostile_crowd import KINDS, totals
from benchmarks.hostile_held import Target
from benchmarks.hostile_planted import planted_bodies_found
from benchmarks.processes import cpu_s
from benchmarks.results import write_result
from benchmarks.soak_clients import CLOSED_SHARE
from mirror.simulator.process import SimulatorProcess, start_simulator
from tests.scenario.body_checker import known, warmed
from tests.scenario.edge import Edge, wait_until
from tests.tls_files import make_server, settings_of

SETTINGS = {
    **full_tables.SETTINGS,
    "serve.head_timeout": "4s",
    "serve.write_timeout": "4s",
    "serve.tls.handshake_timeout": "4s",
}
WARM_LENGTHS = (900, 20_000, 300_000)
LARGE_BYTES = 16 << 20
ALONE, HOSTILE, SETTLING = "alone", "hostile", "settling"
SETTLE_S = 1.0
MOST_P99_TIMES = 2.0
JUDGED_PHASES = 5
IDLE_RATIO = 0.2
JUDGED_S = 1500.0
SHOWN_EVERY = 8  # samples: one of five or six minutes with phases of 20 s
MOST_SLOPE_BYTES_PER_H = 1 << 20
MOST_GROWTH_BYTES = 32 << 20
MOST_MORE_FILES = 16  # connections and bodies of the good ones that are under way


def main(arguments: Sequence[str]) -> int:
    duration_s = float(arguments[0]) if arguments else 120.0
    phase_s = float(arguments[1]) if len(arguments) > 1 else 10.0
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, start_simulator() as upstream:
        figures = run_hostile(Path(folder), upstream, duration_s=duration_s, phase_s=phase_s)
    print(json.dumps(figures, indent=1))
    print(f"written: {write_result('hostile', figures).name}")
    return 0 if figures["is_good"] else 1


def run_hostile(
    folder: Path,
    upstream: SimulatorProcess,
    *,
    duration_s: float,
    phase_s: float,
    seed: int = 1,
    is_timed: bool = True,
) -> Figures:
    """Run one mirror with both kinds of clients; say what they saw, and whether that is good.

    `is_timed` False: the time that hits take is told, not judged.
    """
    settings = {**SETTINGS, **settings_of(make_server(folder / "tls"))}
    with Edge(folder / "mirror", upstream, settings=settings) as mirror:
        if duration_s >= JUDGED_S:
            full_tables.fill(mirror)
        warm = [known(archive) for archive in warmed(mirror, *WARM_LENGTHS)]
        found = planted_bodies_found(mirror.port, warm[-1])
        [large] = warmed(mirror, LARGE_BYTES)
        target = Target(
            port=mirror.port, tls_port=mirror.tls_port, hot=warm[-1].path,
            large=large.path, large_bytes=LARGE_BYTES,
        )  # fmt: skip
        orders = {"port": mirror.port, "warm": [(item.path, item.sha256) for item in warm]}
        attack = {"target": dataclasses.asdict(target), "seed": seed}
        with (
            Child("benchmarks.hostile_good", orders) as good,
            Child("benchmarks.hostile_crowd", attack) as crowd,
        ):
            stand = _Stand(mirror=mirror, good=good, crowd=crowd, phase_s=phase_s)
            stand.run(time.monotonic() + duration_s)
            sums = good.end()
        figures = {"planted wrong bodies found": found, **stand.figures(sums)}
        figures["temps left"] = temps_left(mirror)
        figures["own faults"] = mirror.own_faults()[:3]
    figures["is_good"] = bool(found) and not faults_of(figures, is_timed=is_timed)
    figures["faults"] = faults_of(figures, is_timed=is_timed)
    return figures


@dataclasses.dataclass(slots=True, kw_only=True)
class _Stand:
    """One run: its phases in turn, and what was seen in each."""

    mirror: Edge
    good: Child
    crowd: Child
    phase_s: float
    phases: list[Figures] = dataclasses.field(default_factory=list)
    samples: list[Sample] = dataclasses.field(default_factory=list)
    seen: Figures = dataclasses.field(default_factory=dict)
    broken: list[str] = dataclasses.field(default_factory=list)

    def run(self, until: float) -> None:
        """Alternate until the time is over; the good ones are alone first and last."""
        self._phase(ALONE)
        self.samples.append(sample(self.mirror))
        while time.monotonic() < until or len(self.phases) < 2:
            self.crowd.tell("go")
            self._phase(HOSTILE)
            told = self.crowd.tell("rest")
            self.seen, self.broken = told["seen"], told["broken"]
            self._phase(ALONE)
            self.samples.append(sample(self.mirror))

    def _phase(self, name: str) -> None:
        self.good.tell(SETTLING)
        time.sleep(SETTLE_S)
        self.good.tell(name)
        pids = [self.mirror.process.pid, *self.mirror.pids().values()]
        began_at, began_s, before = time.monotonic(), cpu_s(pids), _machine_ticks()
        time.sleep(self.phase_s)
        used_s, took_s = cpu_s(pids) - began_s, time.monotonic() - began_at
        after = _machine_ticks()
        idle_ratio = (after[0] - before[0]) / max(1, after[1] - before[1])
        figures = {"cpu_ratio": round(used_s / took_s, 3), "idle_ratio": round(idle_ratio, 3)}
        self.phases.append({"phase": name, **figures, **self.good.tell(SETTLING)})

    def figures(self, sums: Figures) -> Figures:
        """Return everything but what is left behind."""
        total = totals(self.seen)
        first, last = self.samples[0], self.samples[-1]
        late = self.samples[len(self.samples) // 2 :]
        hostile = range(1, len(self.phases), 2)
        times = [_times(self.phases, at) for at in hostile]
        judged = [_times(self.phases, at) for at in hostile if _has_time_left(self.phases, at)]
        return {
            "settings": SETTINGS,
            "good right": sum(phase["right"] for phase in sums.values()),
            "good by HTTP/2": sum(phase["by_http2"] for phase in sums.values()),
            "good misses": sum(phase["not hits"] for phase in sums.values()),
            "good wrong": sum(phase["wrong"] for phase in sums.values()),
            "good failed": sum(phase["failed"] for phase in sums.values()),
            "good closed between requests": sum(
                phase["closed between requests"] for phase in sums.values()
            ),
            "first faults": [fault for phase in sums.values() for fault in phase["first faults"]],
            "hostile in all": dict(total),
            "hostile": self.seen,
            "hostile broken": self.broken,
            "p99 times, judged": round(statistics.median(judged), 2) if judged else None,
            "p99 phases judged": len(judged),
            "p99 times, median": round(statistics.median(times), 2),
            "p99 times, each": [round(each, 2) for each in times],
            "p99 times, pooled": round(sums[HOSTILE]["p99_ms"] / sums[ALONE]["p99_ms"], 2),
            "pooled": {name: sums[name] for name in (ALONE, HOSTILE)},
            "phases": self.phases,
            "slope of s": round(last.at - late[0].at, 1),
            "rss_bytes": dict(last.rss_bytes),
            "rss_bytes over time": [dict(each.rss_bytes) for each in self.samples[::SHOWN_EVERY]],
            "rss growth, bytes": growth(first.rss_bytes, last.rss_bytes),
            "rss slope, bytes per hour": rss_slopes(late),
            "open files": dict(last.files),
            "open files more": growth(first.files, last.files),
        }


def _times(phases: Sequence[Figures], at: int) -> float:
    around = (phases[at - 1]["p99_ms"] + phases[at + 1]["p99_ms"]) / 2
    return float(phases[at]["p99_ms"] / around) if around else float("inf")


def _has_time_left(phases: Sequence[Figures], at: int) -> bool:
    return all(phases[near]["idle_ratio"] >= IDLE_RATIO for near in (at - 1, at + 1))


def _machine_ticks() -> tuple[int, int]:
    """Return the time of all processors so far, idle and in all."""
    ticks = [int(cell) for cell in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def faults_of(figures: Figures, *, is_timed: bool) -> list[str]:
    """Return what is not as promised."""
    slopes = figures["rss slope, bytes per hour"]
    is_judged = figures["slope of s"] >= JUDGED_S
    is_timed = is_timed and figures["p99 phases judged"] >= JUDGED_PHASES
    claims = {
        "no good request failed": figures["good failed"] == 0,
        "no good body was wrong": figures["good wrong"] == 0,
        "connections are rarely closed between requests": figures["good closed between requests"]
        <= figures["good right"] * CLOSED_SHARE,
        "good clients were answered": min(figures["good right"], figures["good by HTTP/2"]) > 0,
        "some were misses": figures["good misses"] > 0,
        "every kind of attack fired": all(_has_fired(figures["hostile"], name) for name in KINDS),
        "no attack broke": not figures["hostile broken"],
        "open files are flat": _most(figures["open files more"]) <= MOST_MORE_FILES,
        "memory is bounded": _most(figures["rss growth, bytes"]) <= MOST_GROWTH_BYTES,
        "memory is flat": not is_judged or _most(slopes) < MOST_SLOPE_BYTES_PER_H,
        "no temp is left": figures["temps left"] == 0,
        "no mistake of the mirror's own": not figures["own faults"],
        f"p99 is below {MOST_P99_TIMES} times that alone": not is_timed
        or figures["p99 times, judged"] < MOST_P99_TIMES,
    }
    return [claim for claim, holds in claims.items() if not holds]


def _has_fired(seen: Mapping[str, Mapping[str, int]], name: str) -> bool:
    counts = seen.get(name, {})
    return any(counts.get(noun, 0) for noun in ("connections", "frames", "requests", "pieces"))


def _most(counts: Mapping[str, int]) -> int:
    return max(counts.values(), default=0)


def temps_left(mirror: Edge) -> int:
    """Wait for the fills that hostile clients began to end; return the temps that stay."""
    temps = mirror.store / "partial"
    try:
        wait_until(lambda: not list(temps.iterdir()), "no temp is left")
    except AssertionError:
        return len(list(temps.iterdir()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
