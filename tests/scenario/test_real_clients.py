"""Stock rustup and cargo do their work through the mirror: cold, warm, and without upstream.

Every case runs three times in homes of their own: against an empty mirror, against the warm one
(no archive or crate byte may come from upstream), and with the upstream stopped.
"""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from mirror.simulator.real_clients import ClientHome, write_workspace
from tests.scenario.conftest import HomeMaker
from tests.scenario.edge import Edge, wait_until

pytestmark = pytest.mark.client

ROUNDS = ("cold", "warm", "upstream-stopped")
Act = Callable[[ClientHome], None]


def _nothing(_home: ClientHome) -> None:
    """No preparation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`prepare` runs in every home before `news` happens upstream; `act` is what is judged."""

    act: Act
    prepare: Act = _nothing
    news: Callable[[SimulatorProcess], object] = lambda _simulator: None
    news_path: str = "/dist/channel-rust-stable.toml.sha256"


def rustup(home: ClientHome, *arguments: str) -> str:
    result = home.rustup(*arguments)
    assert result.returncode == 0, result.stderr
    assert "warn" not in result.stderr, result.stderr
    return result.stdout + result.stderr


def cargo(home: ClientHome, workspace: Path, *arguments: str) -> str:
    result = home.cargo(*arguments, workspace=workspace)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def install(toolchain: str, profile: str = "minimal") -> Act:
    def act(home: ClientHome) -> None:
        rustup(home, "toolchain", "install", toolchain, "--profile", profile, "--no-self-update")

    return act


def version_of(home: ClientHome, toolchain: str) -> str:
    command = [str(home.toolchain_program(toolchain, "rustc")), "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def update_to_new_release(home: ClientHome) -> None:
    assert "updated" in rustup(home, "update", "--no-self-update")
    assert version_of(home, "stable").startswith("rustc 1.95.0 ")


def update_with_nothing_new(home: ClientHome) -> None:
    assert "unchanged" in rustup(home, "update", "--no-self-update")


def add_component(home: ClientHome) -> None:
    rustup(home, "component", "add", "clippy")
    assert home.toolchain_program("stable", "cargo-clippy").exists()


def add_target(home: ClientHome) -> None:
    rustup(home, "target", "add", "wasm32-unknown-unknown")
    assert "wasm32-unknown-unknown" in rustup(home, "target", "list", "--installed")


def check_for_updates(home: ClientHome) -> None:
    result = home.rustup("check")  # exit status 100 says that an update is available
    assert "1.94.0" in result.stdout, result.stderr
    assert "1.95.0" in result.stdout, result.stderr


def update_rustup_itself(home: ClientHome) -> None:
    before = home.rustup_binary.stat().st_ino
    assert "downloading self-update" in rustup(home, "self", "update")
    assert home.rustup_binary.stat().st_ino != before


def install_backtracking_nightly(home: ClientHome) -> None:
    result = home.rustup("toolchain", "install", "nightly", "--no-self-update")
    assert result.returncode == 0, result.stderr
    assert "skipping nightly with missing component: clippy" in result.stderr


def fetch(dependency: str, requirement: str, *arguments: str) -> Act:
    def act(home: ClientHome) -> None:
        workspace = write_workspace(home.root / "work", {dependency: requirement})
        cargo(home, workspace, "fetch", *arguments)

    return act


def build(dependency: str, requirement: str) -> Act:
    def act(home: ClientHome) -> None:
        workspace = write_workspace(home.root / "work", {dependency: requirement})
        cargo(home, workspace, "build")

    return act


def update_the_lock(home: ClientHome) -> None:
    assert "Updating plusmeta" not in cargo(home, home.root / "work", "update")
    assert (home.root / "work" / "Cargo.lock").exists()


CASES = {
    "install-minimal": Case(act=install("stable")),
    "install-default": Case(act=install("stable", "default")),
    "update": Case(
        prepare=install("stable"),
        news=lambda simulator: simulator.control.advance("stable"),
        act=update_to_new_release,
    ),
    "update-nothing-new": Case(prepare=install("stable"), act=update_with_nothing_new),
    "component-add": Case(prepare=install("stable"), act=add_component),
    "target-add": Case(prepare=install("stable"), act=add_target),
    "check": Case(
        prepare=install("stable"),
        news=lambda simulator: simulator.control.advance("stable"),
        act=check_for_updates,
    ),
    "self-update": Case(
        news=lambda simulator: simulator.control.advance("rustup"),
        news_path="/rustup/release-stable.toml",
        act=update_rustup_itself,
    ),
    "pinned-version": Case(act=install("1.94.0")),
    "backtracking-nightly": Case(act=install_backtracking_nightly),
    "fetch-the-whole-tree": Case(act=fetch("harvest", "1")),
    "build": Case(act=build("plusmeta", "1")),
    "plus-version": Case(act=fetch("plusmeta", "=1.0.0")),
    "update-the-lock": Case(prepare=fetch("plusmeta", "1"), act=update_the_lock),
}


# Each is close to a neighbour above, and takes 5 s; `make check-full` runs them.
FULL_ONLY = {
    "backtracking-nightly",
    "build",
    "check",
    "component-add",
    "install-default",
    "pinned-version",
    "plus-version",
    "target-add",
    "update-nothing-new",
    "update-the-lock",
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=[pytest.mark.full] if name in FULL_ONLY else [])
        for name, case in CASES.items()
    ],
)
def test_client_is_served_cold_warm_and_without_upstream(
    case: Case, edge: Edge, simulator: SimulatorProcess, new_home: HomeMaker
) -> None:
    homes = {name: new_home(name) for name in ROUNDS}
    for home in homes.values():
        case.prepare(home)
    case.news(simulator)
    _wait_for_news(edge, simulator, case.news_path)

    case.act(homes["cold"])
    assert simulator.control.counts()["total"]["requests"] > 0

    simulator.control.reset_counts()
    case.act(homes["warm"])
    assert immutable_bytes(simulator) == 0

    simulator.control.stop_serving()
    case.act(homes["upstream-stopped"])


def immutable_bytes(simulator: SimulatorProcess) -> int:
    """Count the archive, rustup-init and crate bytes that upstream has sent."""
    objects = simulator.control.counts()["objects"]
    wanted = (".tar.gz", ".tar.xz", ".crate", "/rustup-init")
    return sum(int(item["bytes"]) for path, item in objects.items() if str(path).endswith(wanted))


def _wait_for_news(edge: Edge, simulator: SimulatorProcess, path: str) -> None:
    """Wait until the mirror's copy of a head file is upstream's: freshness passes in its time."""
    with urllib.request.urlopen(f"{simulator.releases_url}{path}") as response:
        wanted = response.read()
    wait_until(lambda: edge.get(path)[2] == wanted, f"{path} is the newest")


def test_locked_project_still_gets_a_version_yanked_later(
    edge: Edge, simulator: SimulatorProcess, new_home: HomeMaker
) -> None:
    simulator.control.publish_crate("glean", "1.0.0")
    homes = {name: new_home(name) for name in ROUNDS}
    cold_work = write_workspace(homes["cold"].root / "work", {"glean": "1"})
    cargo(homes["cold"], cold_work, "fetch")
    assert simulator.control.yank("glean", "1.0.0")
    wait_until(lambda: b'"yanked":true' in edge.get("/index/gl/ea/glean")[2], "the yank is visible")
    for name, home in homes.items():
        if name == "upstream-stopped":
            simulator.control.stop_serving()
        work = write_workspace(home.root / "work", {"glean": "1"})
        (work / "Cargo.lock").write_bytes((cold_work / "Cargo.lock").read_bytes())
        cargo(home, work, "fetch", "--locked")
        unlocked = write_workspace(home.root / "unlocked", {"glean": "1"})
        assert home.cargo("fetch", workspace=unlocked).returncode != 0


def test_deleted_crate_is_gone_for_cargo_too(
    edge: Edge, simulator: SimulatorProcess, new_home: HomeMaker
) -> None:
    homes = {name: new_home(name) for name in ("before", *ROUNDS)}
    fetch("vanishing", "1")(homes["before"])
    assert simulator.control.delete_crate("vanishing")
    wait_until(lambda: edge.get("/index/va/ni/vanishing")[0] == 404, "the deletion is visible")
    for name in ROUNDS:
        if name == "upstream-stopped":
            simulator.control.stop_serving()
        workspace = write_workspace(homes[name].root / "work", {"vanishing": "1"})
        result = homes[name].cargo("fetch", workspace=workspace)
        assert result.returncode != 0
        assert "vanishing" in result.stderr
        assert edge.get("/crates/vanishing/vanishing-1.0.0.crate")[0] == 404
