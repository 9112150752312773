"""The scenarios: one origin, one cache, one archive that nobody has asked for before.

Rules:
1. Every scenario has the same faults for every cache, and asserts that they fired.
2. Counts are the origin's own; the mirror's requests for proofs (`.sha256`) are told apart.
3. Bytes are compared with the origin's digest: a fast wrong body is no result.

Units: milliseconds where named, bytes. Runs in: benchmark.
"""

from __future__ import annotations

import itertools
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.behaviour.client import Answer, ask, ask_all
from benchmarks.followers import download
from mirror.simulator.process import SimulatorProcess

COLD_CLIENTS = 10
ORIGIN_DELAY_MS = 120
JOINERS = 8
JOIN_EVERY_S = 0.3
SLOW_BYTES_PER_S = 800_000  # 6 MB in 7.5 s
RANGE_BYTES_PER_S = 2_000_000
BEGIN_IN_S = 0.3  # all connections stand by then

Figures = dict[str, object]
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The simulator, with archives that are new each time."""

    simulator: SimulatorProcess
    date: str

    def archive(self, size: str) -> str:
        """Return the target of an archive that nobody has asked for, its proof computed."""
        target = f"/dist/{self.date}/big-{size}-b{next(_NUMBERS)}.tar.gz"
        self.digest(target)
        self.simulator.control.clear_faults()
        self.simulator.control.reset_counts()
        return target

    def digest(self, target: str) -> str:
        url = f"{self.simulator.releases_url}{target}.sha256"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return str(answer.read().split()[0], "ascii")

    def spoil(self, target: str, **rule: object) -> None:
        self.simulator.control.faults({"path": target, "name": "spoilt", **rule})

    def cost(self, target: str) -> Figures:
        """What the origin sent of `target`. Raises RuntimeError when the fault did not fire."""
        if not self.simulator.control.faults_fired().get("spoilt"):
            raise RuntimeError("the origin was not spoilt: nothing is shown")
        counts = self.simulator.control.counts()["objects"].get(f"releases:{target}", {})
        requests, sent = counts.get("requests", 0), counts.get("bytes", 0)
        return {"origin_requests": requests, "origin_bytes": sent}


def cold_clients(origin: Origin, base: str) -> Figures:
    """Ten clients at once, the origin's first byte comes after 120 ms.

    One thread reads for all of them: ten would measure how they take turns.
    """
    target = origin.archive("1MB")
    origin.spoil(target, kind="delay", ms=ORIGIN_DELAY_MS)
    clients, _ = download(int(base.rpartition(":")[2]), target, COLD_CLIENTS)
    firsts_ms = sorted(client.first_byte_at * 1000 for client in clients)
    digests = {client.digest.hexdigest() for client in clients}  # type: ignore[attr-defined]  # as there
    return {
        **origin.cost(target),
        "whole_and_right": digests == {origin.digest(target)},
        "leader_first_byte_ms": round(firsts_ms[0], 1),
        "last_behind_leader_ms": round(firsts_ms[-1] - firsts_ms[0], 1),
    }


def joiners(origin: Origin, base: str) -> Figures:
    """A slow fill of 6 MB, joined by a client every 0.3 s."""
    target = origin.archive("6MB")
    origin.spoil(target, kind="rate", bytes_per_s=SLOW_BYTES_PER_S)
    start = time.monotonic() + BEGIN_IN_S
    answers = ask_all(base, target, [start + JOIN_EVERY_S * n for n in range(JOINERS + 1)])
    return {
        **origin.cost(target),
        "whole_and_right": _right(answers, origin.digest(target)),
        "leader_first_byte_ms": round(answers[0].first_byte_ms, 1),
        "slowest_joiner_first_byte_ms": round(max(a.first_byte_ms for a in answers[1:]), 1),
    }


def cold_range(origin: Origin, base: str) -> Figures:
    """The last 100 bytes of a cold 6 MB archive, the origin sends 2 MB/s."""
    wanted = ("Range: bytes=-100",)
    target = origin.archive("6MB")
    origin.spoil(target, kind="rate", bytes_per_s=RANGE_BYTES_PER_S)
    direct = ask(origin.simulator.releases_url, target, fields=wanted)
    target = origin.archive("6MB")
    origin.spoil(target, kind="rate", bytes_per_s=RANGE_BYTES_PER_S)
    answer = ask(base, target, fields=wanted)
    return {
        **origin.cost(target),
        "status": answer.status,
        "origin_first_byte_ms": round(direct.first_byte_ms, 1),
        "first_byte_ms": round(answer.first_byte_ms, 1),
        "behind_origin_ms": round(answer.first_byte_ms - direct.first_byte_ms, 1),
    }


def origin_dies(origin: Origin, base: str) -> Figures:
    """The origin's connection is reset at 1.5 of 3 MB, once."""
    target = origin.archive("3MB")
    origin.spoil(target, kind="cut", at=1_500_000, how="rst", count=1)
    answer = ask(base, target)
    return {
        **origin.cost(target),
        "status": answer.status,
        "received_bytes": answer.content_bytes,
        "promised_bytes": answer.promised_bytes,
        "whole_and_right": _right([answer], origin.digest(target)),
    }


def _right(answers: list[Answer], digest: str) -> bool:
    return all(answer.is_whole and answer.sha256 == digest for answer in answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`is_met` judges the mirror's figures against what is promised."""

    name: str
    run: Callable[[Origin, str], Figures]
    promise: str
    is_met: Callable[[Figures], bool]


SCENARIOS = (
    Scenario(
        name="ten cold clients, origin answers after 120 ms",
        run=cold_clients,
        promise="one origin request; every first byte within 10 ms of the leader's",
        is_met=lambda seen: (
            seen["origin_requests"] == 1
            and seen["whole_and_right"] is True
            and float(str(seen["last_behind_leader_ms"])) <= 10
        ),
    ),
    Scenario(
        name="slow fill of 6 MB, eight clients join 0.3 s apart",
        run=joiners,
        promise="one fetch; a joiner's first byte within 10 ms",
        is_met=lambda seen: (
            seen["origin_requests"] == 1
            and seen["whole_and_right"] is True
            and float(str(seen["slowest_joiner_first_byte_ms"])) <= 10
        ),
    ),
    Scenario(
        name="last 100 bytes of a cold 6 MB, origin sends 2 MB/s",
        run=cold_range,
        promise="206; first byte within 50 ms of the origin's own",
        is_met=lambda seen: seen["status"] == 206 and float(str(seen["behind_origin_ms"])) <= 50,
    ),
    Scenario(
        name="origin dies at 1.5 of 3 MB",
        run=origin_dies,
        promise="the client gets all 3 MB",
        is_met=lambda seen: seen["whole_and_right"] is True,
    ),
)
