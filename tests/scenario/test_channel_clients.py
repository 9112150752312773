"""Stock rustup works on while upstream skews, tears and rolls back its channel files."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mirror.simulator.process import SimulatorProcess
from mirror.simulator.real_clients import ClientHome
from tests.scenario.conftest import HomeMaker
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import at_once
from tests.scenario.upstream_objects import reference

pytestmark = [pytest.mark.full, pytest.mark.client("rustup")]

HEAD = "/dist/channel-rust-stable.toml"
FILES = ("toml", "sha256", "asc")
FORMER, NEXT = "rustc 1.94.0 ", "rustc 1.95.0 "
PAUSE_S = 0.15  # half of the freshness lifetime, so that refreshes meet every state
# What stays the former generation's while the others are the next one's.
TEARS = {
    "sha256-behind": ("sha256",),
    "manifest-behind": ("toml",),
    "signature-behind": ("asc",),
    "manifest-ahead": ("sha256", "asc"),
    "sha256-ahead": ("toml", "asc"),
    "signature-ahead": ("toml", "sha256"),
}
# Each is close to a neighbour; `make check-full` runs them.
FULL_ONLY = set(TEARS) - {"sha256-behind"}
EACH_TEAR = pytest.mark.parametrize(
    "held_back",
    [
        pytest.param(files, id=name, marks=[pytest.mark.full] if name in FULL_ONLY else [])
        for name, files in TEARS.items()
    ],
)


def install(home: ClientHome) -> str:
    """Install stable and return what its rustc says."""
    command = ("toolchain", "install", "stable", "--profile", "minimal", "--no-self-update")
    succeed(home, *command)
    return version_of(home)


def update(home: ClientHome) -> str:
    succeed(home, "update", "--no-self-update")
    return version_of(home)


def succeed(home: ClientHome, *arguments: str) -> None:
    result = home.rustup(*arguments)
    assert result.returncode == 0, result.stderr


def version_of(home: ClientHome) -> str:
    command = [str(home.toolchain_program("stable", "rustc")), "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tear(simulator: SimulatorProcess, held_back: tuple[str, ...]) -> None:
    """Publish 1.95.0; some of the three files are not there yet."""
    assert simulator.control.advance("stable") == "1.95.0"
    simulator.control.hold_back("stable", *held_back)
    told = reference(f"{simulator.releases_url}{HEAD}.sha256")[:64]
    stated = reference(f"{simulator.releases_url}/dist/2026-04-16/channel-rust-stable.toml.sha256")
    assert (told == stated[:64]) is ("sha256" not in held_back)


def wait_for_next(edge: Edge, simulator: SimulatorProcess) -> None:
    simulator.control.settle("stable")
    wanted = reference(f"{simulator.releases_url}{HEAD}")
    wait_until(lambda: edge.get(HEAD)[2] == wanted, "the next release is served")


@EACH_TEAR
def test_first_install_during_a_skew_gets_a_consistent_release(
    held_back: tuple[str, ...], edge: Edge, simulator: SimulatorProcess, new_home: HomeMaker
) -> None:
    """Nothing is held; the dated directory is what it is recovered from."""
    tear(simulator, held_back)
    home = new_home("first")
    assert install(home).startswith((FORMER, NEXT))
    wait_for_next(edge, simulator)
    assert update(home).startswith(NEXT)


@EACH_TEAR
def test_update_during_a_skew_keeps_or_gets_a_consistent_release(
    held_back: tuple[str, ...], edge: Edge, simulator: SimulatorProcess, new_home: HomeMaker
) -> None:
    home = new_home("updating")
    assert install(home).startswith(FORMER)
    tear(simulator, held_back)
    asked = skew_seen(simulator)
    wait_until(lambda: bool(edge.get(HEAD)) and skew_seen(simulator) > asked, "the skew is seen")
    assert update(home).startswith((FORMER, NEXT))
    wait_for_next(edge, simulator)
    assert update(home).startswith(NEXT)


def skew_seen(simulator: SimulatorProcess) -> int:
    """Return how often the mirror has asked for the `.sha256` at the head."""
    objects = simulator.control.counts()["objects"]
    return int(objects.get(f"releases:{HEAD}.sha256", {}).get("requests", 0))


def test_rollback_takes_no_client_back(
    edge: Edge, simulator: SimulatorProcess, new_home: HomeMaker
) -> None:
    simulator.control.advance("stable")
    home = new_home("updated")
    assert install(home).startswith(NEXT)
    simulator.control.roll_back("stable")
    key = f"releases:{HEAD}"
    wait_until(
        lambda: bool(edge.get(HEAD)) and any(event.get("key") == key for event in held(edge)),
        "the rollback is told about",
    )
    assert update(home).startswith(NEXT)
    assert install(new_home("first")).startswith(NEXT)


def held(edge: Edge) -> list[dict[str, object]]:
    return [event for event in edge.events if event["level"] == "error"]


@contextmanager
def unrest(simulator: SimulatorProcess, seed: int) -> Iterator[list[str]]:
    """Skew, tear and roll back the head over and over until the block is left."""
    done: list[str] = []
    ending = threading.Event()
    rng = random.Random(seed)

    def work() -> None:
        while not ending.wait(PAUSE_S):
            names = rng.choice([("all",), ("none",), *TEARS.values()])
            if names == ("all",):
                simulator.control.roll_back("stable")
            elif names == ("none",):
                simulator.control.settle("stable")
            else:
                simulator.control.hold_back("stable", *names)
            done.append("+".join(names))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        ending.set()
        thread.join(30)
        simulator.control.settle("stable")


@pytest.mark.full
def test_clients_never_fail_while_upstream_is_restless(
    edge: Edge, simulator: SimulatorProcess, new_home: HomeMaker
) -> None:
    old = new_home("old")
    assert install(old).startswith(FORMER)
    assert simulator.control.advance("stable") == "1.95.0"
    homes = [new_home(f"home-{number}") for number in range(3)]
    with unrest(simulator, 11) as done:
        versions = at_once(4, lambda number: update(old) if number == 3 else install(homes[number]))
        versions += at_once(4, lambda number: update([*homes, old][number]))
        wait_until(lambda: len(done) >= 12, "upstream has been restless")
    assert all(version.startswith((FORMER, NEXT)) for version in versions)
    assert len(set(done)) >= 4
    wait_for_next(edge, simulator)
    assert all(update(home).startswith(NEXT) for home in (*homes, old))
