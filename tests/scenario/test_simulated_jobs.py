"""The jobs of `make load` against a mirror: right bodies are right, wrong ones are found.

Runs in: pytest.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.answers import RUSTUP_AGENT, Answer, Question, Verdict
from benchmarks.load.board import Board
from benchmarks.load.catalogue import Catalogue
from benchmarks.load.doors import door_of
from benchmarks.load.http1 import OneByOne, ask_once
from benchmarks.load.http2 import AtOnce, Beginning
from benchmarks.load.jobs import Runner
from benchmarks.load.records import Counts
from benchmarks.load.run import LOCUST
from benchmarks.load.survey import (
    Publisher,
    SurveyError,
    survey,
    survey_config,
    survey_crates,
    survey_toolchain,
)
from benchmarks.results import ROOT
from mirror.simulator.process import SimulatorProcess
from mirror.simulator.tcp_proxy import TcpFaults, TcpProxy
from tests.scenario.edge import Edge
from tests.tls_files import make_server, settings_of

pytestmark = pytest.mark.full

CRATES = ("harvest", "io", "rgb", "MixedCase", "heavy", "chronicle", "plusmeta")
MANIFEST = "/dist/channel-rust-1.94.0.toml"


@dataclass
class Seen:
    """A record that keeps the counts and what was not right."""

    counts: Counts = field(default_factory=Counts)
    complaints: list[str] = field(default_factory=list)

    def record(self, name: str, answer: Answer) -> bool:
        verdict, reason = self.counts.add(name, answer)
        if verdict is not Verdict.RIGHT:
            self.complaints.append(f"{name}: {answer.question.item.target}: {reason}")
        return verdict is Verdict.RIGHT


@pytest.fixture(scope="module")
def catalogue(module_simulator: SimulatorProcess, mirror: Edge) -> Catalogue:
    upstream = module_simulator
    publisher = Publisher(
        releases=upstream.releases_url, crates=upstream.crates_url, index=upstream.index_url
    )
    return Catalogue(
        toolchains=(survey_toolchain(publisher, MANIFEST),),
        crates=survey_crates(publisher, CRATES, follows=False, may_change=False),
        config=survey_config(mirror.url),
    )


@pytest.mark.parametrize(
    ("live", "names"),
    [
        pytest.param(
            lambda runner, catalogue: runner.install(catalogue.toolchains[0]),
            {"install .sha256", "install manifest", "install archive"},
            id="install",
        ),
        pytest.param(
            lambda runner, _: [runner.fetch() for _ in range(4)],
            {"fetch config.json", "fetch index", "fetch crate"},
            id="fetch",
        ),
        pytest.param(
            lambda runner, _: [runner.update() for _ in range(8)], {"update index"}, id="update"
        ),
    ],
)
def test_a_job_gets_right_bodies(
    catalogue: Catalogue,
    mirror: Edge,
    live: Callable[[Runner, Catalogue], object],
    names: set[str],
) -> None:
    seen = Seen()
    runner = Runner(
        1, catalogue=catalogue, door=door_of(mirror.url), board=Board(),
        record=seen.record, pause_s=0.0,
    )  # fmt: skip
    live(runner, catalogue)
    assert seen.complaints == []
    assert names <= set(seen.counts.verdicts)
    if "update index" in names:
        assert seen.counts.statuses[304] > seen.counts.statuses[200] > 0


def test_a_published_release_is_the_next_job(catalogue: Catalogue, mirror: Edge) -> None:
    seen, board = Seen(), Board()
    runner = Runner(
        2, catalogue=catalogue, door=door_of(mirror.url), board=board,
        record=seen.record, pause_s=0.0,
    )  # fmt: skip
    board.post(catalogue.toolchains[0])
    assert runner.live_one_job() == "stampede"
    assert seen.complaints == []
    assert seen.counts.verdicts["stampede archive"][Verdict.RIGHT] == 6


@pytest.mark.parametrize("beginning", list(Beginning))
def test_a_planted_wrong_body_is_wrong_over_both_protocols(
    catalogue: Catalogue, mirror: Edge, beginning: Beginning
) -> None:
    seen, door = Seen(), door_of(mirror.url)
    planted, right = (
        Question(item=crate.archive, agent=RUSTUP_AGENT, is_planted=is_planted)
        for crate, is_planted in zip(catalogue.crates[:2], (True, False), strict=True)
    )
    seen.record("over HTTP/1.1", ask_once(door, planted))
    connection = AtOnce(door, beginning)
    for answer in connection.ask_all([planted, right]):
        seen.record("over HTTP/2", answer)
    connection.close()
    assert seen.counts.verdicts["over HTTP/1.1"] == {Verdict.WRONG: 1}
    assert seen.counts.verdicts["over HTTP/2"] == {Verdict.WRONG: 1, Verdict.RIGHT: 1}


def test_a_slow_reader_takes_as_long_as_it_is_slow(catalogue: Catalogue, mirror: Edge) -> None:
    item = next(each.archive for each in catalogue.crates if "chronicle" in each.index.target)
    question = Question(item=item, agent=RUSTUP_AGENT, bytes_per_s=item.length_bytes)
    seen = Seen()
    waited: list[float] = []
    with OneByOne(door_of(mirror.url), sleep=waited.append) as connection:
        answer = connection.ask(question)
    assert seen.record("slow archive", answer), seen.complaints
    assert sum(waited) >= 1 - 2048 / item.length_bytes - 0.25


def test_a_mirror_that_is_away_is_a_failure_and_not_an_exception() -> None:
    with pytest.raises(SurveyError, match="cannot be asked"):
        survey("http://127.0.0.1:1", CRATES, channel="stable", archive_bytes=1)


def test_a_limit_below_every_archive_is_refused(mirror: Edge) -> None:
    with pytest.raises(SurveyError, match="raise --archive-mib"):
        survey(mirror.url, ["rgb"], channel="stable", archive_bytes=1)


def test_what_is_no_mirror_is_refused(upstream: SimulatorProcess) -> None:
    with pytest.raises(SurveyError, match=r"answers 40\d: is it a mirror"):
        survey(upstream.crates_url, ["rgb"], channel="stable", archive_bytes=1)


def test_archives_are_taken_up_to_the_limit(upstream: SimulatorProcess, mirror: Edge) -> None:
    found = survey(mirror.url, ["rgb"], channel="stable", archive_bytes=300_000)
    (toolchain,) = found.toolchains
    assert 0 < sum(item.length_bytes for item in toolchain.archives) <= 300_000
    assert toolchain.manifest.target == "/dist/2026-03-05/channel-rust-stable.toml"


def test_jobs_ask_over_tls_with_both_protocols(
    upstream: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_server(tmp_path / "certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
    seen = Seen()
    with Edge(tmp_path / "edge", upstream, settings=settings_of(made)) as secured:
        url = f"https://localhost:{secured.tls_port}"
        catalogue = survey(url, ["rgb", "io"], channel="stable", archive_bytes=1 << 20)
        runner = Runner(
            3, catalogue=catalogue, door=door_of(url), board=Board(),
            record=seen.record, pause_s=0.0,
        )  # fmt: skip
        runner.install(catalogue.toolchains[0])
        runner.fetch()
        for _ in range(4):
            runner.update()
    assert seen.complaints == []
    assert {"install archive", "fetch crate", "update index"} <= set(seen.counts.verdicts)


# With locust


async def _load(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Return the exit status, the summary and what was printed."""
    if not LOCUST.exists():
        sentence = "no locust: `make load` installs it"
        if os.environ.get("REQUIRE_CLIENTS", "") not in ("", "0"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.load", "--folder", str(folder), *arguments,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await running.communicate()
    assert running.returncode is not None
    summary = folder / "summary.json"
    figures: dict[str, Any] = json.loads(summary.read_text()) if summary.exists() else {}
    return running.returncode, figures, printed.decode()


async def test_twelve_jobs_see_nothing_failed_and_nothing_wrong(tmp_path: Path) -> None:
    status, figures, printed = await _load(
        tmp_path, "--jobs", "12", "--minutes", "0.13", "--pause", "1"
    )
    assert status == 0, printed
    assert (figures["failed"], figures["wrong"]) == (0, 0)
    assert figures["most_jobs_under_way"] == 12
    assert set(figures["jobs"]) == {"install", "fetch", "update", "slow", "stampede"}
    assert figures["statuses"]["304"] > 0
    assert "convicted 2 planted wrong bodies" in printed
    assert "Locust" in (tmp_path / "report.html").read_text()


async def test_a_wrong_body_on_the_way_ends_the_run_with_status_1(
    tmp_path: Path, upstream: SimulatorProcess, mirror: Edge
) -> None:
    """One crate has a byte changed between mirror and jobs; everything else is right."""
    _, _, content = mirror.get("/crates/rgb/rgb-1.0.0.crate")
    faults = TcpFaults(corrupt_after=content[64:96])
    crates = tmp_path / "crates.txt"
    crates.write_text("# two\nrgb\nio\n")
    async with TcpProxy("127.0.0.1", mirror.port) as liar:
        liar.faults = faults
        status, figures, printed = await _load(
            tmp_path / "found", "--jobs", "5", "--minutes", "0.05", "--pause", "0.5",
            "--target", f"http://127.0.0.1:{liar.port}", "--crates", str(crates),
        )  # fmt: skip
    assert status == 1, printed
    assert figures["wrong"] > 0
    assert set(figures["reasons"]) <= {"fetch crate", "update crate"}, printed
    reasons = itertools.chain.from_iterable(figures["reasons"].values())
    assert all(each.startswith("wrong: /crates/rgb/") for each in reasons), printed
    assert "requests had a wrong body" in printed
