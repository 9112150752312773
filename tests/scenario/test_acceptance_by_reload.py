"""What is held goes through after an operator accepted it and reloaded, without a restart."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import fetch

pytestmark = pytest.mark.full  # `make check-full` runs it

HEAD = "/dist/channel-rust-stable.toml"
SETTINGS = {
    "freshness.channel": "300ms",
    "freshness.negative": "300ms",
    "freshness.stale_while_revalidate": "0s",
}


def served(edge: Edge) -> str:
    """The digest of the manifest that clients have."""
    reply = fetch(edge.port, HEAD)
    assert reply.status == 200
    return reply.sha256


def test_an_accepted_rollback_goes_through_after_a_reload(
    tmp_path: Path, simulator: SimulatorProcess
) -> None:
    with Edge(tmp_path, simulator, settings=SETTINGS) as edge:
        former = served(edge)
        simulator.control.advance("stable")
        wait_until(lambda: served(edge) != former, "the release is taken over")
        newer = served(edge)
        simulator.control.roll_back("stable")
        wait_until(
            lambda: bool(served(edge)) and bool(edge.named("channel-rollback")),
            "the rollback is told about",
        )
        assert served(edge) == newer
        [line] = {event["hint"].split("'")[1] for event in edge.named("channel-rollback")}
        edge.write_file(f'[trust]\naccept = ["{line}"]\n')
        edge.send(signal.SIGHUP)
        wait_until(lambda: served(edge) == former, "the accepted release is taken over")
        assert edge.named("release-accepted")[0]["accept"] == line
