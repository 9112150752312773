"""What `make load` judges, counts and refuses, without a mirror and without locust.

Runs in: pytest.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.__main__ import main
from benchmarks.load.answers import OUTDATED_TAG, Answer, Question, Verdict, judge
from benchmarks.load.board import Board, publish
from benchmarks.load.catalogue import (
    Catalogue,
    Crate,
    Item,
    Toolchain,
    catalogue_from,
    to_json,
    toolchain_from,
)
from benchmarks.load.doors import Door, door_of, source_address
from benchmarks.load.http1 import spoiled
from benchmarks.load.records import JOBS, Counts
from benchmarks.load.stage import Stage, read_stage
from tests.scenario.edge import wait_until

RIGHT, OTHER = "a" * 64, "b" * 64
FIXED = Item(target="/dist/x.tar.xz", sha256=RIGHT, length_bytes=7)
CHANGING = Item(target="/index/se/rd/serde", sha256=RIGHT, length_bytes=7, may_change=True)


def _answer(
    item: Item, *, status: int = 200, sha256: str = RIGHT, tag: str = "", asked: str = "",
    failure: str = "",
) -> Answer:  # fmt: skip
    return Answer(
        question=Question(item=item, agent="test", entity_tag=asked),
        took_s=0.1,
        status=status,
        fields={"etag": tag} if tag else {},
        length_bytes=7,
        sha256=sha256,
        failure=failure,
    )


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        pytest.param(_answer(FIXED), Verdict.RIGHT, id="as-stated"),
        pytest.param(_answer(FIXED, tag=f'"{RIGHT}"'), Verdict.RIGHT, id="as-stated-and-tagged"),
        pytest.param(_answer(FIXED, sha256=OTHER), Verdict.WRONG, id="another-body"),
        pytest.param(
            _answer(FIXED, sha256=OTHER, tag=f'"{OTHER}"'),
            Verdict.WRONG,
            id="another-body-vouched-for-by-its-tag-only",
        ),
        pytest.param(_answer(FIXED, tag=f'"{OTHER}"'), Verdict.WRONG, id="tag-of-another-body"),
        pytest.param(_answer(FIXED, tag='"opaque"'), Verdict.RIGHT, id="tag-that-is-no-digest"),
        pytest.param(_answer(FIXED, status=503), Verdict.FAILED, id="another-status"),
        pytest.param(_answer(FIXED, failure="cut"), Verdict.FAILED, id="broken-off"),
        pytest.param(_answer(FIXED, status=304), Verdict.FAILED, id="304-unasked"),
        pytest.param(
            _answer(FIXED, status=304, asked=f'"{RIGHT}"'), Verdict.RIGHT, id="304-of-the-body"
        ),
        pytest.param(
            _answer(FIXED, status=304, asked=OUTDATED_TAG), Verdict.WRONG, id="304-of-no-body"
        ),
        pytest.param(
            _answer(FIXED, status=304, asked=f'"{OTHER}"'), Verdict.WRONG, id="304-of-another-body"
        ),
        pytest.param(
            _answer(CHANGING, sha256=OTHER, tag=f'"{OTHER}"'), Verdict.RIGHT, id="it-has-changed"
        ),
        pytest.param(
            _answer(CHANGING, sha256=OTHER, tag=f'"{RIGHT}"'),
            Verdict.WRONG,
            id="changed-on-the-way",
        ),
        pytest.param(
            _answer(replace(CHANGING, former=(OTHER,)), sha256=OTHER, tag=f'"{OTHER}"'),
            Verdict.WRONG,
            id="what-it-was-before",
        ),
        pytest.param(
            _answer(CHANGING, sha256=OTHER), Verdict.FAILED, id="changed-and-nothing-vouches"
        ),
    ],
)
def test_an_answer_is_judged(answer: Answer, verdict: Verdict) -> None:
    found, reason = judge(answer)
    assert found is verdict
    assert bool(reason) is (verdict is not Verdict.RIGHT)


@given(st.binary())
def test_a_spoiled_piece_differs_in_one_bit(piece: bytes) -> None:
    other = spoiled(piece)
    assert len(other) == len(piece)
    assert sum((a ^ b).bit_count() for a, b in zip(piece, other, strict=True)) == bool(piece)


def _seen(*answers: Answer, jobs: tuple[str, ...] = JOBS) -> Counts:
    counts = Counts()
    for answer in answers:
        counts.add("fetch crate", answer)
    for job in jobs:
        counts.begin_job()
        counts.end_job(job)
    return counts


@pytest.mark.parametrize(
    ("counts", "faults"),
    [
        pytest.param(_seen(_answer(FIXED)), [], id="good"),
        pytest.param(
            _seen(_answer(FIXED), _answer(FIXED, sha256=OTHER)),
            ["1 requests had a wrong body"],
            id="one-wrong",
        ),
        pytest.param(
            _seen(_answer(FIXED, status=500), _answer(FIXED, status=404)),
            ["2 requests failed"],
            id="two-failed",
        ),
        pytest.param(
            _seen(_answer(FIXED), jobs=JOBS[:-1]),
            [f"no job of the kind {JOBS[-1]!r} ended"],
            id="a-kind-of-job-was-not-seen",
        ),
    ],
)
def test_a_run_is_good_only_without_failed_wrong_and_missing(
    counts: Counts, faults: list[str]
) -> None:
    assert counts.faults(JOBS) == faults


def test_a_job_that_crashes_is_a_fault() -> None:
    counts = _seen(_answer(FIXED))
    counts.begin_job()
    counts.crash_job(KeyError("stream"))
    counts.end_job("")
    assert counts.faults(JOBS) == ["1 jobs crashed: KeyError: 'stream'"]


def test_counts_keep_reasons_and_the_most_jobs_at_once() -> None:
    counts = _seen(*(_answer(FIXED, status=500) for _ in range(9)), jobs=())
    for _ in range(3):
        counts.begin_job()
    counts.end_job("install")
    counts.end_job("")
    figures = counts.figures()
    assert figures["failed"] == 9
    assert figures["reasons"] == {"fetch crate": ["failed: /dist/x.tar.xz: status 500"] * 5}
    assert figures["jobs"] == {"install": 1}
    assert (figures["most_jobs_under_way"], counts.jobs_under_way) == (3, 1)
    assert repr(counts) == "<Counts 9 requests, 9 failed, 0 wrong>"


def _toolchain(name: str) -> Toolchain:
    return Toolchain(
        name=name,
        digest=replace(FIXED, former=(OTHER,)),
        manifest=CHANGING,
        archives=(FIXED, FIXED),
    )


CATALOGUE = Catalogue(
    toolchains=(_toolchain("1.95.0"),), crates=(Crate(index=CHANGING, archive=FIXED),), config=FIXED
)


def test_a_catalogue_survives_its_journey_as_json() -> None:
    assert catalogue_from(json.loads(json.dumps(to_json(CATALOGUE)))) == CATALOGUE
    assert toolchain_from(json.loads(json.dumps(to_json(_toolchain("x"))))) == _toolchain("x")
    assert CATALOGUE.length_bytes == 6 * 7


def test_a_stage_is_read_as_it_was_written(tmp_path: Path) -> None:
    stage = Stage(
        url="http://127.0.0.1:1", pause_s=1.5, seconds=20, catalogue=CATALOGUE,
        awaited_jobs=JOBS, most_bytes=5, is_planted=True,
    )  # fmt: skip
    assert read_stage(stage.write(tmp_path)) == stage


def test_a_release_wakes_all_who_rest_and_they_find_the_newest(tmp_path: Path) -> None:
    board = Board()
    found: list[str] = []

    def rest() -> None:
        while board.number < 2 and not board.is_over:
            board.rest(60)
        found.append(board.release.name if board.release else "")

    threads = [threading.Thread(target=rest) for _ in range(5)]
    threads.append(threading.Thread(target=board.watch, args=(tmp_path,)))
    for thread in threads:
        thread.start()
    publish(tmp_path, 1, _toolchain("1.95.0"))
    publish(tmp_path, 2, _toolchain("1.96.0"))
    wait_until(lambda: len(found) == 5, "all were woken", 10)
    board.close()
    for thread in threads:
        thread.join(10)
    assert found == ["1.96.0"] * 5
    assert not any(thread.is_alive() for thread in threads)
    board.rest(60)  # returns: the day is over


@pytest.mark.parametrize(
    ("url", "door", "authority"),
    [
        ("http://mirror:8080", Door(host="mirror", port=8080), "mirror:8080"),
        ("http://mirror/", Door(host="mirror", port=80), "mirror"),
        ("https://mirror", Door(host="mirror", port=443, is_secured=True), "mirror"),
        ("http://[::1]:8080", Door(host="::1", port=8080), "[::1]:8080"),
    ],
)
def test_a_mirror_is_named_by_its_url(url: str, door: Door, authority: str) -> None:
    assert door_of(url) == door
    assert door.authority == authority


@pytest.mark.parametrize(
    "url", ["mirror:8080", "ftp://mirror", "http://", "http://mirror/dist", "http://me@mirror"]
)
def test_what_is_not_a_mirrors_url_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(ValueError, match=r"write http://HOST:PORT"):
        door_of(url)


def test_runners_have_addresses_of_their_own_on_loopback_only() -> None:
    here = [source_address(door_of("http://127.0.0.1:1"), number) for number in range(1000)]
    assert len(set(here)) == 1000
    assert all(address.startswith("127.32.") for address in here)
    assert source_address(door_of("http://mirror:1"), 3) == ""
    assert source_address(door_of("http://[::1]:1"), 3) == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--jobs", "0"], "--jobs and --minutes must be above 0", id="no-jobs"),
        pytest.param(["--minutes", "-1"], "--jobs and --minutes must be above 0", id="no-time"),
        pytest.param(["--pause", "-1"], "--pause not below it", id="negative-pause"),
        pytest.param(["--archive-mib", "0"], "must be above 0", id="no-archives"),
        pytest.param(["--most-gib", "0"], "must be above 0", id="no-bytes"),
        pytest.param(["--save", "--target", "http://m"], "leave it out", id="save-of-a-target"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "make load TARGET=http://mirror:8080" in capsys.readouterr().out
