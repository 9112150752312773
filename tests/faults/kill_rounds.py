"""Mirrors whose processes are killed at named crash points, in turn, while clients read.

Rules:
1. A round arms the board, does what passes the point until the kill has happened, lets the mirror
   come back, and then asks for everything again: bodies, the books, what was acknowledged.
2. A kill that does not happen fails the round: every fault is counted by the one that kills.
3. Clients read throughout, and judge every complete body; so does each deed.
4. `Tally.merge` adds up several mirrors, which may run in threads side by side.

Does not: choose how many; `plan_of` spreads `each` kills over points and victims.
Runs in: tests, benchmark.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

from mirror.simulator.process import SimulatorProcess
from mirror.store.points import Point
from tests.faults.board import Victim
from tests.faults.books import Books, require_sound, unfinished
from tests.faults.deeds import deeds_for
from tests.faults.fault_edge import FaultEdge
from tests.scenario.body_checker import BodyChecker, Known, known
from tests.scenario.edge import wait_until
from tests.scenario.exchange import fetch
from tests.scenario.upstream_objects import fresh_archive

SETTINGS = {
    "store.budget": "48MiB",  # so small that fills evict
    "serve.keeper_wait": "20s",
    "freshness.index": "50ms",
    "freshness.negative": "50ms",
    "freshness.stale_while_revalidate": "0s",
}
TRIES = 20
WARM_LENGTHS = (2_000, 300_000, 900_000)
Kill = tuple[Point, Victim]


@dataclass(slots=True)
class Tally:
    """What the rounds saw; every number beside a zero is here."""

    kills: Counter[Kill] = field(default_factory=Counter)
    bodies_total: int = 0
    failed_total: int = 0
    deeds_total: int = 0
    audits_total: int = 0
    files_total: int = 0
    slowest_round_s: float = 0.0

    def merge(self, other: Tally) -> None:
        self.kills += other.kills
        self.bodies_total += other.bodies_total
        self.failed_total += other.failed_total
        self.deeds_total += other.deeds_total
        self.audits_total += other.audits_total
        self.files_total += other.files_total
        self.slowest_round_s = max(self.slowest_round_s, other.slowest_round_s)

    @property
    def kills_total(self) -> int:
        return self.kills.total()

    def of_point(self, point: Point) -> int:
        return sum(count for (at, _), count in self.kills.items() if at is point)

    def of_victim(self, victim: Victim) -> int:
        return sum(count for (_, whom), count in self.kills.items() if whom is victim)

    def __str__(self) -> str:
        victims = ", ".join(f"{self.of_victim(victim)} {victim.value}" for victim in Victim)
        fewest = min(Point, key=self.of_point)
        return (
            f"{self.kills_total} kills fired ({victims}); fewest at {fewest.value}:"
            f" {self.of_point(fewest)}; 0 wrong of {self.bodies_total} bodies and"
            f" {self.deeds_total} deeds, {self.failed_total} answers broken or refused; 0 books"
            f" differ of {self.audits_total} audits ({self.files_total} files hashed); slowest"
            f" round {self.slowest_round_s:.1f} s"
        )


def plan_of(points: Sequence[Point], each: int, seed: int) -> list[Kill]:
    """Return `each` kills at every point, the victims in turn, in a random order."""
    plan = [
        (point, list(Victim)[(number + turn) % len(Victim)])
        for number in range(each)
        for turn, point in enumerate(points)
    ]
    random.Random(seed).shuffle(plan)
    return plan


class KillRun:
    """One mirror that is killed over and over."""

    def __init__(self, edge: FaultEdge, upstream: SimulatorProcess, seed: int) -> None:
        self.tally = Tally()
        self._edge = edge
        self._upstream = upstream
        self._dice = random.Random(seed)
        self._books = Books(edge)

    def run(self, plan: Iterable[Kill]) -> Tally:
        """Carry out `plan`; returns what was seen. Raises AssertionError for what is not right."""
        warm = [known(fresh_archive(length)) for length in WARM_LENGTHS]
        with BodyChecker(self._edge.port, warm, threads=2, pause_s=0.02) as checker:
            for point, victim in plan:
                self._round(point, victim)
                assert not checker.lies, checker.lies[0]
        checker.verdict()
        # Fills that a kill broke off go on when they are asked for, and leave no temp.
        for item in (*warm, *unfinished(self._edge.store)):
            wait_until(partial(self._is_right, item), f"{item.path} is right")
        self._books.require_agreement(without_temps=True)
        require_sound(self._edge)
        self.tally.bodies_total = checker.right_total
        self.tally.failed_total = checker.failed_total
        self.tally.audits_total = self._books.audits_total
        self.tally.files_total = self._books.files_total
        return self.tally

    def _is_right(self, item: Known) -> bool:
        return item.is_told_right(fetch(self._edge.port, item.path))

    def _round(self, point: Point, victim: Victim) -> None:
        """Kill `victim` once at `point`, and require that all is right again."""
        began_at = monotonic()
        deed = self._dice.choice(deeds_for(point))(self._edge, self._upstream)
        board = self._edge.board
        kills_before = board.kills()[point, victim]
        self._edge.strike(point, victim)
        tries = 0
        while not self._edge.is_struck:
            tries += 1
            assert tries <= TRIES, f"{deed!r} does not lead through {point.value}"
            deed.provoke()
        assert board.kills()[point, victim] == kills_before + 1, f"{point.value}: no kill"
        self._edge.come_back(victim)
        deed.settle()
        self._books.require_agreement()
        self.tally.deeds_total += 1
        self.tally.kills[point, victim] += 1
        self.tally.slowest_round_s = max(self.tally.slowest_round_s, monotonic() - began_at)


def run_mirrors(
    folder: Path, upstream: SimulatorProcess, plan: Sequence[Kill], *, mirrors: int, seed: int
) -> Tally:
    """Carry out `plan` with so many mirrors side by side. Raises what the first one raised."""

    def run_one(number: int) -> Tally:
        with FaultEdge(folder / f"mirror-{number}", upstream, settings=SETTINGS) as edge:
            tally = KillRun(edge, upstream, seed + number).run(plan[number::mirrors])
            assert edge.own_faults() == [], edge.own_faults()[:3]
            return tally

    whole = Tally()
    with ThreadPoolExecutor(mirrors) as pool:
        for tally in pool.map(run_one, range(mirrors)):
            whole.merge(tally)
    return whole


def require_checker_convicts(upstream: SimulatorProcess) -> None:
    """Show the checker a wrong body: one that does not see it proves nothing."""
    archive = fresh_archive(300_000)
    fault = {"kind": "corrupt", "path": archive.path, "at": 150_000, "name": archive.path}
    upstream.control.faults(fault)
    port = urlsplit(upstream.releases_url).port
    assert port is not None
    with BodyChecker(port, [known(archive)], threads=1) as checker:
        wait_until(lambda: bool(checker.lies), "the planted wrong body is found")
    assert upstream.control.faults_fired()[archive.path] >= 1
