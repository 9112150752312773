"""What the timed parts of the soak stand on.

Runs in: benchmark.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.soak_clients import SteadyClients
from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge

Figures = dict[str, object]  # what a part saw; "is_good" is its verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The running mirror with its upstream and its good clients; `until` is monotonic."""

    mirror: Edge
    simulator: SimulatorProcess
    clients: SteadyClients
    seed: int
    until: float

    @property
    def left_s(self) -> float:
        return max(0.0, self.until - time.monotonic())

    @property
    def is_over(self) -> bool:
        return self.left_s == 0
