"""What the scenarios share: a simulated upstream, a mirror before it, clients in their own homes.

Runs in: pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess, start_simulator
from mirror.simulator.real_clients import ClientHome, RealClients, find_real_clients
from tests.scenario.edge import Edge

HomeMaker = Callable[[str], ClientHome]

# Short enough that a scenario sees upstream's news at once, long enough that a hit is a hit.
QUICK_FRESHNESS = {
    "freshness.channel": "300ms",
    "freshness.rustup": "300ms",
    "freshness.index": "300ms",
    "freshness.negative": "300ms",
    # Who asks for what is stale waits, and gets upstream's news.
    "freshness.stale_while_revalidate": "0s",
}


@pytest.fixture(scope="module")
def module_simulator() -> Iterator[SimulatorProcess]:
    with start_simulator() as running:
        yield running


@pytest.fixture
def upstream(module_simulator: SimulatorProcess) -> Iterator[SimulatorProcess]:
    """The simulator of this module, faultless and with its counts at zero."""
    _calm(module_simulator)
    yield module_simulator
    _calm(module_simulator)


@pytest.fixture(scope="module")
def mirror(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    module_simulator: SimulatorProcess,
) -> Iterator[Edge]:
    """The mirror of this module, with the module's `SETTINGS`; tests use objects of their own."""
    settings = getattr(request.module, "SETTINGS", {})
    with Edge(tmp_path_factory.mktemp("mirror"), module_simulator, settings=settings) as running:
        yield running
    assert running.own_faults() == []


def _calm(simulator: SimulatorProcess) -> None:
    simulator.control.clear_faults()
    simulator.control.resume_serving()
    simulator.control.reset_counts()


@pytest.fixture
def clients() -> RealClients:
    found = find_real_clients()
    if found is None:
        pytest.skip("rustup with an installed toolchain is absent: install it to run this scenario")
    return found


@pytest.fixture
def simulator() -> Iterator[SimulatorProcess]:
    found = find_real_clients()
    with start_simulator(rustup_binary=found.rustup if found else None) as running:
        yield running


@pytest.fixture
def edge(tmp_path: Path, simulator: SimulatorProcess) -> Iterator[Edge]:
    with Edge(tmp_path / "edge", simulator, settings=QUICK_FRESHNESS) as running:
        yield running


@pytest.fixture
def new_home(tmp_path: Path, clients: RealClients, edge: Edge) -> HomeMaker:
    """Return a maker of client homes that know the mirror only."""

    def make(name: str) -> ClientHome:
        return ClientHome(
            tmp_path / name, clients, releases_url=edge.url, index_url=f"{edge.url}/index"
        )

    return make
