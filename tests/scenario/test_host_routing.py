"""Stock clients whose resolver was pointed at the mirror: routes by Host, as upstream's names.

The clients run in a mount namespace of their own with another hosts file; nothing outside it sees
the change.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from mirror.simulator.real_clients import ClientHome, RealClients, write_workspace
from tests.scenario.edge import Edge
from tests.scenario.upstream_objects import requests_total

pytestmark = pytest.mark.client

HOSTS = "127.0.0.1 localhost static.rust-lang.org static.crates.io index.crates.io\n"


@pytest.fixture
def prefix(tmp_path: Path) -> list[str]:
    """A command that runs the rest of its line where upstream's names mean this machine."""
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(hosts)]
    try:
        tried = subprocess.run(
            [*command, "getent", "hosts", "index.crates.io"],
            check=False,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("unshare is absent: the hosts file cannot be changed for one process")
    if tried.returncode or "127.0.0.1" not in tried.stdout:
        pytest.skip(f"this machine allows no private mount namespace: {tried.stderr.strip()}")
    return command


@pytest.fixture
def home(
    tmp_path: Path, clients: RealClients, edge: Edge, prefix: list[str]
) -> Callable[[str], ClientHome]:
    def make(name: str) -> ClientHome:
        return ClientHome(
            tmp_path / name,
            clients,
            releases_url=f"http://static.rust-lang.org:{edge.port}",
            index_url=f"http://index.crates.io:{edge.port}",
            prefix=prefix,
        )

    return make


@pytest.mark.full
def test_rustup_installs_from_the_real_name_of_its_server(
    edge: Edge, simulator: SimulatorProcess, home: Callable[[str], ClientHome]
) -> None:
    for name in ("cold", "upstream-stopped"):
        here = home(name)
        done = here.rustup("toolchain", "install", "stable", "--profile", "minimal")
        assert done.returncode == 0, done.stderr
        assert here.toolchain_program("stable", "rustc").exists()
        assert requests_total(simulator) > 0
        simulator.control.stop_serving()


@pytest.mark.full
def test_cargo_fetches_and_builds_from_the_real_names_of_its_registry(
    edge: Edge, simulator: SimulatorProcess, home: Callable[[str], ClientHome]
) -> None:
    for name in ("cold", "upstream-stopped"):
        here = home(name)
        workspace = write_workspace(here.root / "work", {"plusmeta": "1", "MixedCase": "1"})
        done = here.cargo("build", workspace=workspace)
        assert done.returncode == 0, done.stderr
        # The crates came by the name that the generated config.json gives, through the mirror.
        downloaded = list(here.cargo_home.glob("registry/cache/*/*.crate"))
        assert {"plusmeta-1.0.0+build.5.crate", "MixedCase-1.0.0.crate"} <= {
            path.name for path in downloaded
        }
        assert requests_total(simulator) > 0
        simulator.control.stop_serving()
