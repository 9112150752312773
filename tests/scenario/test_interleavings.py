"""No client ever gets a mixed pair, however its requests fall around an upstream's flip."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge
from tests.scenario.interleaving import CHANNELS, STRAY_EVERY, Interleavings, Outcome

SEED = 20260522
EACH = 42  # sequences around one flip, two of them strays
SETTINGS = {
    "freshness.channel": "100ms",
    "freshness.manifests": "100ms",
    "freshness.stale_while_revalidate": "0s",
}


def planned(rounds: int) -> int:
    """How many sequences, without the strays, so many rounds of every channel hold."""
    return rounds * len(CHANNELS) * (EACH - -(-EACH // STRAY_EVERY))


async def interleave(root: Path, simulator: SimulatorProcess, rounds: int) -> Outcome:
    with Edge(root, simulator, workers=2, settings=SETTINGS) as edge:
        runner = Interleavings(edge.port, simulator, seed=SEED, each=EACH)
        outcome = await runner.run(rounds)
        assert edge.own_faults() == []
        assert edge.wrong_blobs() == []
    return outcome


def judge(outcome: Outcome, *, sequences: int, inside: int) -> None:
    print(outcome)  # the counts, for `pytest -s`
    assert outcome.refused == [], outcome
    assert outcome.mixed == [], outcome
    assert outcome.sequences >= sequences, outcome
    assert outcome.inside >= inside, outcome
    assert outcome.torn > 0, outcome
    assert outcome.strays_mixed > 0, outcome  # else a mixed pair would not have been noticed


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_no_pair_is_mixed_in_10000_interleavings_with_a_flip(
    tmp_path: Path, simulator: SimulatorProcess
) -> None:
    rounds = 86
    assert planned(rounds) >= 10_000
    outcome = await interleave(tmp_path, simulator, rounds)
    judge(outcome, sequences=10_000, inside=3_000)
