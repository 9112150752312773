"""Stock rustup and cargo take the simulator for the real upstream.

Everything else that is tested or measured with the simulator rests on this.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess, start_simulator
from mirror.simulator.real_clients import (
    ClientHome,
    RealClients,
    find_real_clients,
    write_workspace,
)

# `make test` drives the same clients through the mirror, with the simulator behind it.
pytestmark = [pytest.mark.client, pytest.mark.full]


@pytest.fixture(scope="module")
def clients() -> RealClients:
    found = find_real_clients()
    if found is None:
        pytest.skip("rustup with an installed toolchain is absent")
    return found


@pytest.fixture
def simulator(clients: RealClients) -> Iterator[SimulatorProcess]:
    with start_simulator(dl="local", rustup_binary=clients.rustup) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, clients: RealClients, simulator: SimulatorProcess) -> ClientHome:
    return ClientHome(
        tmp_path / "home",
        clients,
        releases_url=simulator.releases_url,
        index_url=simulator.index_url,
    )


def run_rustup(home: ClientHome, *arguments: str) -> str:
    result = home.rustup(*arguments)
    assert result.returncode == 0, result.stderr
    assert "warn" not in result.stderr, result.stderr
    return result.stdout + result.stderr


def install(home: ClientHome, toolchain: str, profile: str = "minimal") -> str:
    return run_rustup(
        home, "toolchain", "install", toolchain, "--profile", profile, "--no-self-update"
    )


def printed_version(home: ClientHome, toolchain: str) -> str:
    command = [str(home.toolchain_program(toolchain, "rustc")), "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def paths(simulator: SimulatorProcess, since: int = 0) -> list[str]:
    return [record["path"] for record in simulator.control.log(since)]


def test_install_update_and_update_again(home: ClientHome, simulator: SimulatorProcess) -> None:
    install(home, "stable")
    assert printed_version(home, "stable").startswith("rustc 1.94.0 ")
    asked = len(paths(simulator))
    assert "unchanged" in run_rustup(home, "update", "--no-self-update")
    assert paths(simulator, asked) == ["/dist/channel-rust-stable.toml.sha256"]
    simulator.control.advance("stable")
    assert "updated" in run_rustup(home, "update", "--no-self-update")
    assert printed_version(home, "stable").startswith("rustc 1.95.0 ")


def test_components_and_targets_are_added(home: ClientHome) -> None:
    install(home, "stable")
    run_rustup(home, "component", "add", "clippy", "rustfmt", "rust-src")
    run_rustup(home, "target", "add", "wasm32-unknown-unknown")
    installed = run_rustup(home, "component", "list", "--installed")
    assert "rust-std-wasm32-unknown-unknown" in installed
    assert home.toolchain_program("stable", "cargo-clippy").exists()


def test_pinned_version_and_beta_are_installed_with_the_default_profile(home: ClientHome) -> None:
    install(home, "1.94.0", "default")
    install(home, "beta", "default")
    assert printed_version(home, "1.94.0").startswith("rustc 1.94.0 ")
    assert printed_version(home, "beta").startswith("rustc 1.96.0-beta.1 ")


def test_nightly_backtracks_to_the_newest_complete_one(
    home: ClientHome, simulator: SimulatorProcess
) -> None:
    assert "skipping nightly with missing component: clippy" in install(home, "nightly", "default")
    asked = paths(simulator)
    assert "/dist/2026-05-17/channel-rust-nightly.toml.sha256" in asked
    assert "/dist/2026-05-16/rustc-nightly-x86_64-unknown-linux-gnu.tar.xz" in asked
    simulator.control.advance("nightly")
    run_rustup(home, "update", "--no-self-update")
    assert "/dist/2026-05-21/" in paths(simulator)[-1]


def test_rustup_updates_itself(home: ClientHome, simulator: SimulatorProcess) -> None:
    assert "unchanged" in run_rustup(home, "self", "update")
    simulator.control.advance("rustup")
    before = home.rustup_binary.stat().st_ino
    assert "downloading self-update" in run_rustup(home, "self", "update")
    assert paths(simulator)[-1].startswith("/rustup/archive/1.29.9/")
    assert home.rustup_binary.stat().st_ino != before
    assert run_rustup(home, "--version").startswith("rustup ")


def test_unknown_version_does_not_exist(home: ClientHome) -> None:
    result = home.rustup("toolchain", "install", "1.2.3", "--profile", "minimal")
    assert result.returncode != 0
    assert "nonexistent rust version" in result.stderr


def test_skewed_manifest_digest_makes_the_install_fail(
    home: ClientHome, simulator: SimulatorProcess
) -> None:
    simulator.control.faults({"kind": "former", "path": "*.toml.sha256", "name": "skew"})
    result = home.rustup("toolchain", "install", "stable", "--profile", "minimal")
    assert result.returncode != 0
    assert simulator.control.faults_fired()["skew"] >= 1


def test_component_is_asked_for_again_after_errors(
    home: ClientHome, simulator: SimulatorProcess
) -> None:
    rule = {"kind": "status", "status": 503, "path": "/dist/*/rustc-*", "count": 2, "name": "busy"}
    simulator.control.faults(rule)
    install(home, "stable")
    assert simulator.control.faults_fired() == {"busy": 2}


def test_cargo_fetches_and_builds_the_whole_tree(
    home: ClientHome, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    workspace = write_workspace(tmp_path / "work", {"harvest": "1"})
    fetched = home.cargo("fetch", workspace=workspace)
    assert fetched.returncode == 0, fetched.stderr
    counts = simulator.control.counts()["classes"]
    assert counts["crate"]["requests"] > 100
    assert counts["index"]["errors"] == counts["crate"]["errors"] == 0
    lock = (workspace / "Cargo.lock").read_text()
    assert 'version = "1.0.0+build.5"' in lock
    assert 'name = "MixedCase"' in lock
    built = home.cargo("build", "--offline", workspace=workspace)
    assert built.returncode == 0, built.stderr
    assert built.stderr.count("Compiling") > 100


def test_cargo_update_revalidates_every_index_file(
    home: ClientHome, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    workspace = write_workspace(tmp_path / "work", {"harvest": "1"})
    assert home.cargo("fetch", workspace=workspace).returncode == 0
    simulator.control.reset_counts()
    assert home.cargo("update", workspace=workspace).returncode == 0
    counts = simulator.control.counts()["classes"]
    assert counts["index"]["not_modified"] == counts["index"]["requests"] > 100


def test_cargo_passes_over_a_yanked_version(
    home: ClientHome, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    workspace = write_workspace(tmp_path / "work", {"fading": "1"})
    assert home.cargo("fetch", workspace=workspace).returncode == 0
    assert "/crates/fading/1.0.0/download" in paths(simulator)
    assert simulator.control.yank("fading", "1.1.0", yanked=False)
    assert "1.1.0" in home.cargo("update", workspace=workspace).stderr


def test_cargo_finds_no_deleted_crate(
    home: ClientHome, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    assert simulator.control.delete_crate("vanishing")
    workspace = write_workspace(tmp_path / "work", {"vanishing": "1"})
    result = home.cargo("fetch", workspace=workspace)
    assert result.returncode != 0
    assert "no matching package named `vanishing` found" in result.stderr


def test_cargo_retries_a_cut_crate_and_refuses_a_corrupt_one(
    home: ClientHome, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    workspace = write_workspace(tmp_path / "work", {"rgb": "1"})
    rgb = "/crates/rgb/*"
    simulator.control.faults(
        {"kind": "cut", "path": rgb, "at": 50, "count": 1, "name": "cut"},
        {"kind": "corrupt", "path": rgb, "at": 60, "skip": 1, "name": "corrupt"},
    )
    result = home.cargo("fetch", workspace=workspace)
    assert result.returncode != 0
    assert "checksum" in result.stderr
    assert simulator.control.faults_fired() == {"cut": 1, "corrupt": 1}
