"""Many stored files damaged at once, and what the mirror makes of it: a run that can be counted.

The objects are of three kinds. *Seen* damage shows at open; clients ask for these from the first
moment on. *Hidden* damage does not (the index attests the damaged file): only the scrub finds it,
so clients ask for these after its pass: no mirror could know before. The *sound* ones are asked for
throughout and must not be suspected.

Rules:
1. Every answer is compared with what the publisher said; a complete wrong one is a lie.
2. Found means: told by an event with this digest. Healed: right on disk again. Both are counted per
   file, and whoever is suspected wrongly is counted too.
3. The checker is checked in the same run: the same answers, held against other digests, are lies.

Runs in: tests, and the soak (`run_damage` with a larger number).
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from mirror.simulator.process import SimulatorProcess
from tests.faults.damage import Damage, hide, inflict
from tests.scenario.body_checker import Known, known
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Client, Reply
from tests.scenario.upstream_objects import fresh_archive

CLIENTS = 4
SOUND_SHARE = 4  # one sound object for so many damaged ones
_SIZES = (900, 4_096, 9_000, 20_001)  # within a block, a block, several
_QUICK = {"upstream.max_requests": "0", "scrub.enabled": "false"}
_SCRUBBING = {
    "upstream.max_requests": "0",
    "scrub.enabled": "true",
    "scrub.rate": "4GiB",  # as fast as it goes
    "scrub.every": "1s",
}


@dataclass(slots=True, kw_only=True)
class DamageReport:
    """What was counted; `repr` is the line to print."""

    damaged: int = 0
    hidden: int = 0
    sound: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    answers: int = 0  # compared with what the publisher said
    lies: list[str] = field(default_factory=list)
    planted_lies_caught: int = 0
    found: int = 0
    false_alarms: list[str] = field(default_factory=list)
    healed: int = 0
    found_and_healed_s: float = 0.0
    status: dict[str, object] = field(default_factory=dict)

    def verdict(self, count: int) -> None:
        """Raises AssertionError unless all was found and healed, and nobody was lied to."""
        assert self.damaged >= count, self
        assert set(self.by_kind) == {kind.value for kind in Damage}, self
        assert self.hidden >= count // 3, self
        assert not self.lies, self.lies[0]
        assert self.answers >= self.damaged + self.sound, self
        assert self.planted_lies_caught > 0, self
        assert (self.found, self.healed) == (self.damaged, self.damaged), self
        assert not self.false_alarms, self.false_alarms[0]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.by_kind.items()))
        return (
            f"damage: {self.damaged} files ({kinds}; {self.hidden} beneath an attested identity)"
            f" and {self.sound} sound ones: {self.found} found, {self.healed} healed,"
            f" {len(self.false_alarms)} false alarms, {len(self.lies)} wrong bodies in"
            f" {self.answers} answers, within {self.found_and_healed_s:.1f} s;"
            f" {self.planted_lies_caught} planted wrong bodies caught"
        )


def run_damage(
    root: Path,
    simulator: SimulatorProcess,
    count: int,
    *,
    settings: Mapping[str, str] | None = None,
    deadline_s: float = 60.0,
) -> DamageReport:
    """Store, damage `count` files, start again; return when all is found and healed."""
    report = DamageReport()
    sound_count = count // SOUND_SHARE
    objects = _different(count + sound_count)
    with Edge(root, simulator, settings={**_QUICK, **(settings or {})}) as edge:
        blobs = _store_all(edge, objects, report, deadline_s)
    damaged = _damage_all(edge, [blobs[each.sha256] for each in objects[:count]], report)
    hidden = damaged[1::2]
    hide(edge.store / "index.db", hidden)
    report.hidden = len(hidden)
    report.sound = sound_count
    with Edge(root, simulator, settings={**_SCRUBBING, **(settings or {})}) as edge:
        _watch_healing(edge, objects, {path.name for path in hidden}, report, deadline_s)
    return report


def _different(count: int) -> list[Known]:
    """Return objects of different contents: of many simulated ones two may have the same."""
    found: dict[str, Known] = {}
    sizes = itertools.cycle(_SIZES)
    while len(found) < count:
        each = known(fresh_archive(next(sizes)))
        found.setdefault(each.sha256, each)
    return list(found.values())


def _store_all(
    edge: Edge, objects: Sequence[Known], report: DamageReport, deadline_s: float
) -> dict[str, Path]:
    """Ask until all are stored, and return their files; what a busy upstream failed is asked for
    again."""
    left = list(objects)

    def is_done() -> bool:
        _ask_all(edge, left, report)
        blobs = edge.blobs()
        left[:] = [each for each in left if each.sha256 not in blobs]
        return not left

    wait_until(is_done, "everything is stored", deadline_s)
    return edge.blobs()


def _damage_all(edge: Edge, files: Sequence[Path], report: DamageReport) -> list[Path]:
    """Damage each file once, each kind in turn; every other one is to be hidden."""
    kinds = list(Damage)
    wrong: list[Path] = []
    waiting = list(files)
    turn = 0
    while waiting:
        kind = kinds[turn % len(kinds)]
        if kind is Damage.SWAP and len(waiting) < 2:
            kind = Damage.FLIP
        path = waiting.pop()
        other = waiting.pop() if kind is Damage.SWAP else path
        made = inflict(kind, path, other)
        wrong += made
        report.by_kind[kind.value] = report.by_kind.get(kind.value, 0) + len(made)
        turn += 1
    report.damaged = len(wrong)
    return wrong


def _watch_healing(
    edge: Edge,
    objects: Sequence[Known],
    hidden: set[str],
    report: DamageReport,
    deadline_s: float,
) -> None:
    began_at = time.monotonic()
    damaged = {each.sha256 for each in objects[: report.damaged]}
    shown = [each for each in objects if each.sha256 not in hidden]
    _ask_all(edge, shown, report)  # while the scrub runs

    left = set(damaged)

    def is_done() -> bool:
        if not damaged <= _told(edge):
            return False
        left.intersection_update(_unhealed(edge, left))  # who is whole is not read again and again
        return not left

    wait_until(is_done, "everything is found and healed", deadline_s)
    report.found_and_healed_s = time.monotonic() - began_at
    _ask_all(edge, objects, report)
    report.found = len(damaged & _told(edge))
    report.false_alarms = sorted(_told(edge) - damaged)
    report.healed = report.damaged - len(_unhealed(edge, damaged))
    report.false_alarms += edge.wrong_blobs() + edge.own_faults()
    report.status = dict(edge.status()["scrub"])


def _told(edge: Edge) -> set[str]:
    return {str(event["digest"]) for event in edge.named("blob-condemned")}


def _unhealed(edge: Edge, digests: set[str]) -> set[str]:
    blobs = edge.blobs()
    return {digest for digest in digests if digest not in blobs or not _is_right(blobs[digest])}


def _is_right(path: Path) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    except FileNotFoundError:
        return False  # quarantined at this moment


def _ask_all(edge: Edge, objects: Sequence[Known], report: DamageReport) -> None:
    """Ask for each once on a few connections; judge every answer."""
    shares = [objects[number::CLIENTS] for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for found in pool.map(lambda share: _ask(edge.port, share), shares):
            for each, reply in found:
                report.answers += 1
                if each.is_lied_about(reply):
                    report.lies.append(f"{each.path}: {reply!r}")
                if replace(each, sha256="0" * 64).is_lied_about(reply):
                    report.planted_lies_caught += 1


def _ask(port: int, objects: Sequence[Known]) -> list[tuple[Known, Reply]]:
    with Client(port) as client:
        return [(each, client.fetch(each.path, keeps_content=False)) for each in objects]
