"""`rustup` and `cargo` do what `doctor` says of them: its verdict beside the mirror's access log.

What is good must reach the mirror and succeed; what is past it must fail or ask somebody else.
There is nobody else: a proxy that is not there stands before all of https.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from mirror.cli.doctor import examine
from mirror.doctor.findings import Verdict
from mirror.simulator.process import SimulatorProcess
from mirror.simulator.real_clients import ClientHome, RealClients, write_workspace
from tests.scenario.edge import Edge, wait_until

pytestmark = [pytest.mark.client, pytest.mark.full]

HOME, NEAR = "cargo/config.toml", "work/.cargo/config.toml"
GOOD = '[source.crates-io]\nreplace-with = "m"\n[source.m]\nregistry = "sparse+MIRROR/index/"\n'
REPLACED = '[source.crates-io]\nreplace-with = "m-1"\n'
REGISTRY = '[registries.m-1]\nindex = "sparse+MIRROR/index/"\n'
CHAINED = """
[source.m-1]
registry = "sparse+http://x/"
replace-with = "m"
[source.m]
registry = "sparse+MIRROR/index/"
"""
NOBODY = GOOD.replace("MIRROR", "http://127.0.0.1:1")
INDEX = "CARGO_REGISTRIES_M_1_INDEX"

Files = Mapping[str, str]
CARGO: dict[str, tuple[Files, Mapping[str, str]]] = {
    "nothing": ({HOME: ""}, {}),
    "home": ({HOME: GOOD}, {}),
    "nearer-file-wins": ({HOME: NOBODY, NEAR: GOOD}, {}),
    "nearer-file-spoils": ({HOME: GOOD, NEAR: '[source.m]\nregistry = "sparse+http://x/"'}, {}),
    "without-ending-wins": ({HOME: GOOD, "cargo/config": ""}, {}),
    "file-of-the-dropped-home": ({HOME: GOOD}, {"CARGO_HOME": "elsewhere"}),
    "include": ({HOME: 'include = ["m.toml"]', "cargo/m.toml": GOOD}, {}),
    "include-later-wins": (
        {HOME: 'include = ["n.toml", "m.toml"]', "cargo/m.toml": GOOD, "cargo/n.toml": NOBODY},
        {},
    ),
    "include-as-text": ({HOME: 'include = "m.toml"', "cargo/m.toml": GOOD}, {}),
    "include-absent": ({HOME: 'include = ["m.toml"]\n' + GOOD}, {}),
    "include-optional": ({HOME: 'include = [{ path = "m.toml", optional = true }]\n' + GOOD}, {}),
    "include-circle": ({HOME: 'include = ["config.toml"]\n' + GOOD}, {}),
    "other-type": ({HOME: GOOD, NEAR: "source = 1"}, {}),
    "circle": ({HOME: GOOD + 'replace-with = "crates-io"'}, {}),
    "chain": ({HOME: REPLACED + CHAINED}, {}),
    "chain-without-place": ({HOME: GOOD + '[source.a]\nreplace-with = "m"'}, {}),
    "two-places": ({HOME: GOOD + 'directory = "x"'}, {}),
    "crates-io-itself": ({HOME: GOOD.replace('replace-with = "m"\n[source.m]\n', "")}, {}),
    "registry": ({HOME: REPLACED + REGISTRY}, {}),
    "registry-by-variable": ({HOME: REPLACED}, {INDEX: "sparse+MIRROR/index/"}),
    "variable-wins": ({HOME: REPLACED + REGISTRY}, {INDEX: "sparse+http://x/"}),
    "variable-empty": ({HOME: REPLACED + REGISTRY}, {INDEX: ""}),
    "source-by-variable": (
        {HOME: GOOD.replace('replace-with = "m"', "")},
        {"CARGO_SOURCE_CRATES_IO_REPLACE_WITH": "m"},
    ),
    "without-slash": ({HOME: GOOD.replace("index/", "index")}, {}),
    "git": ({HOME: GOOD.replace("sparse+", "")}, {}),
    "user-name": ({HOME: GOOD.replace("MIRROR", "http://u:p@HOST")}, {}),
}
DIST, ROOT = "RUSTUP_DIST_SERVER", "RUSTUP_DIST_ROOT"
TOOLCHAINS: dict[str, Mapping[str, str]] = {
    "server": {DIST: "MIRROR"},
    "server-with-slash": {DIST: "MIRROR/"},
    "server-with-user": {DIST: "http://u:p@HOST"},
    "server-with-dist": {DIST: "MIRROR/dist"},
    "server-empty": {DIST: ""},
    "no-scheme": {DIST: "HOST"},
    "root": {DIST: "", ROOT: "MIRROR/dist"},
    "root-with-slash": {DIST: "", ROOT: "MIRROR/dist/"},
    "root-of-nobody": {DIST: "MIRROR", ROOT: "http://127.0.0.1:1/dist"},
}
UPDATE = "RUSTUP_UPDATE_ROOT"
ITSELF: dict[str, Mapping[str, str]] = {
    "root": {UPDATE: "MIRROR/rustup"},
    "root-empty": {UPDATE: ""},
    "root-without-rustup": {UPDATE: "MIRROR"},
    "root-with-slash": {UPDATE: "MIRROR/rustup/"},
}


@pytest.fixture(scope="module")
def logged(
    tmp_path_factory: pytest.TempPathFactory, module_simulator: SimulatorProcess
) -> Iterator[Edge]:
    root = tmp_path_factory.mktemp("logged")
    settings = {"log.access": str(root / "access.jsonl")}
    with Edge(root, module_simulator, workers=1, settings=settings) as running:
        yield running
    assert running.own_faults() == []


class Runner:
    """A home, a workspace in it, and the mirror that it may or may not use."""

    def __init__(self, root: Path, clients: RealClients, edge: Edge) -> None:
        self._edge = edge
        self._root, self._clients = root, clients

    def home(self, files: Files, variables: Mapping[str, str]) -> ClientHome:
        def here(text: str) -> str:
            host = self._edge.url.removeprefix("http://")
            return text.replace("MIRROR", self._edge.url).replace("HOST", host)

        extra = {"https_proxy": "http://127.0.0.1:1", "CARGO_NET_RETRY": "0"}
        extra |= {name: here(value) for name, value in variables.items()}
        url = self._edge.url
        home = ClientHome(self._root, self._clients, releases_url=url, index_url=url, extra=extra)
        write_workspace(self._root / "work", {"harvest": "1"})
        for name, text in files.items():
            path = self._root / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(here(text))
        return home

    def is_good(self, home: ClientHome, *subjects: str) -> bool:
        findings = examine(self._root / "work", home.environment, self._edge.url).findings
        told = [each for each in findings if each.subject in subjects]
        assert told, findings
        return all(each.verdict is not Verdict.PAST for each in told)

    def does_reach(self, agent: str, run: Callable[[], int]) -> bool:
        """Whether `run` ends well, with all of its requests at the mirror."""
        before = len(self._lines(agent))
        if run() != 0:
            return False
        wait_until(lambda: len(self._lines(agent)) > before, f"a line of {agent}")
        return True

    def _lines(self, agent: str) -> list[dict[str, object]]:
        path = self._edge.root / "access.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in map(json.loads, lines) if agent in str(line.get("http"))]


@pytest.fixture
def runner(tmp_path: Path, clients: RealClients, logged: Edge) -> Runner:
    return Runner(tmp_path, clients, logged)


@pytest.mark.parametrize("name", CARGO)
def test_cargo_goes_where_doctor_says(runner: Runner, tmp_path: Path, name: str) -> None:
    home = runner.home(*CARGO[name])

    def fetch() -> int:
        return home.cargo("fetch", workspace=tmp_path / "work").returncode

    told = runner.is_good(home, "crates and index", "cargo configuration")
    assert told is runner.does_reach("cargo/", fetch)


@pytest.mark.parametrize("name", TOOLCHAINS)
def test_toolchains_come_from_where_doctor_says(runner: Runner, name: str) -> None:
    home = runner.home({}, TOOLCHAINS[name])
    install = ("toolchain", "install", "stable", "--profile", "minimal", "--no-self-update")
    told = runner.is_good(home, "rustup toolchains")
    assert told is runner.does_reach("rustup/", lambda: home.rustup(*install).returncode)


@pytest.mark.parametrize("name", ITSELF)
def test_rustup_itself_comes_from_where_doctor_says(runner: Runner, name: str) -> None:
    home = runner.home({}, ITSELF[name])
    told = runner.is_good(home, "rustup itself")
    assert told is runner.does_reach("rustup/", lambda: home.rustup("self", "update").returncode)


@pytest.mark.parametrize(
    ("variables", "settings"),
    [({"CI": "true"}, ""), ({}, 'version = "12"\nauto_self_update = "disable"\n')],
)
def test_check_does_not_ask_for_a_newer_rustup_where_doctor_says_so(
    runner: Runner, tmp_path: Path, variables: Mapping[str, str], settings: str
) -> None:
    files = {"rustup/settings.toml": settings} if settings else {}
    home = runner.home(files, {UPDATE: "", **variables})
    [found] = [
        each
        for each in examine(tmp_path, home.environment, None).findings
        if each.subject == "rustup itself"
    ]
    assert "`rustup update` not" in found.sentence
    assert home.rustup("check").returncode == 0
    assert home.rustup("self", "update").returncode != 0
