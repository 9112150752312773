"""Stock rustup and cargo over TLS, with the certificate that `rust-mirror dev-cert` makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mirror.cli.dev_certificates import Made
from mirror.simulator.process import SimulatorProcess
from mirror.simulator.real_clients import ClientHome, RealClients, write_workspace
from tests.scenario.conftest import QUICK_FRESHNESS
from tests.scenario.edge import Edge, wait_until
from tests.tls_files import make_server, settings_of

pytestmark = pytest.mark.client

TlsHome = Callable[..., ClientHome]
_INSTALL = ("toolchain", "install", "stable", "--profile", "minimal", "--no-self-update")


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_server(tmp_path / "certificate")


@pytest.fixture
def edge(tmp_path: Path, simulator: SimulatorProcess, made: Made) -> Iterator[Edge]:
    settings = {**QUICK_FRESHNESS, **settings_of(made), "serve.plaintext": "refuse"}
    with Edge(tmp_path / "edge", simulator, settings=settings) as running:
        yield running
    assert running.own_faults() == []


@pytest.fixture
def tls_home(tmp_path: Path, clients: RealClients, edge: Edge, made: Made) -> TlsHome:
    """Return a maker of client homes that are configured as `dev-cert` says."""

    def make(name: str, *, trusts: bool = True) -> ClientHome:
        url = f"https://localhost:{edge.tls_port}"
        authority = str(made.authority)
        extra = {"SSL_CERT_FILE": authority, "CARGO_HTTP_CAINFO": authority} if trusts else {}
        return ClientHome(
            tmp_path / name, clients, releases_url=url, index_url=f"{url}/index", extra=extra
        )

    return make


def test_rustup_installs_and_cargo_fetches(tls_home: TlsHome) -> None:
    home = tls_home("home")
    installed = home.rustup(*_INSTALL)
    assert installed.returncode == 0, installed.stderr
    assert home.toolchain_program("stable", "rustc").exists()
    workspace = write_workspace(home.root / "work", {"plusmeta": "1"})
    fetched = home.cargo("fetch", workspace=workspace)
    assert fetched.returncode == 0, fetched.stderr
    assert "plusmeta" in (workspace / "Cargo.lock").read_text()


@pytest.mark.full
def test_interrupted_download_is_resumed(
    tls_home: TlsHome, edge: Edge, simulator: SimulatorProcess
) -> None:
    home = tls_home("home")
    simulator.control.faults(
        {"kind": "rate", "path": "/dist/*/rustc-*.xz", "bytes_per_s": 200_000, "name": "slow"}
    )
    killed = home.start_rustup(*_INSTALL)
    try:
        wait_until(
            lambda: simulator.control.faults_fired()["slow"] > 0 and begun_bytes(home) > 80_000,
            "a part of the slow archive has arrived",
        )
    finally:
        killed.kill()
        killed.wait()
    simulator.control.clear_faults()
    kept_bytes, before_bytes = begun_bytes(home), served_bytes(edge)
    installed = home.rustup(*_INSTALL)
    assert installed.returncode == 0, installed.stderr
    assert home.toolchain_program("stable", "rustc").exists()
    assert served_bytes(edge) - before_bytes <= archive_bytes(simulator) - kept_bytes


def begun_bytes(home: ClientHome) -> int:
    """Count what rustup has of archives that are not complete."""
    return sum(path.stat().st_size for path in home.rustup_home.glob("downloads/*.partial"))


def served_bytes(edge: Edge) -> int:
    """Count the bytes of releases that the mirror has sent."""
    return int(edge.status()["traffic"]["classes"]["release"]["served_bytes"])


def archive_bytes(simulator: SimulatorProcess) -> int:
    """Count the archive bytes of one whole installation: upstream sent each once."""
    objects = simulator.control.counts()["objects"]
    return sum(int(item["bytes"]) for path, item in objects.items() if path.endswith(".tar.xz"))


@pytest.mark.full
def test_clients_that_do_not_trust_the_authority_get_nothing(tls_home: TlsHome) -> None:
    home = tls_home("home", trusts=False)
    assert home.rustup(*_INSTALL).returncode != 0
    workspace = write_workspace(home.root / "work", {"plusmeta": "1"})
    fetched = home.cargo("fetch", workspace=workspace)
    assert fetched.returncode != 0
    assert "certificate" in fetched.stderr
