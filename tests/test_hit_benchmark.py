"""What the benchmark of hits reads and judges, and one short run of it.

Runs in: pytest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.hit import cases, namespace
from benchmarks.hit.__main__ import REPEAT_UNTIL_S
from benchmarks.hit.cases import Case
from benchmarks.hit.clients import parse_h2load, parse_wrk
from benchmarks.hit.further_rows import cold_fill_row, memory_rows
from benchmarks.hit.objects import KB, MB, ObjectSet, publish
from benchmarks.hit.profile import Counts, busiest
from benchmarks.hit.round import Load, Round, median_round, round_of, scatter
from benchmarks.hit.rounds import least_s
from benchmarks.hit.servers import MIRROR, NGINX, VARNISH, Protocol, Server
from benchmarks.hit.verdict import (
    ATTEMPTS,
    REQUIREMENTS,
    Figure,
    Outcome,
    Requirement,
    needs_another,
    row_of,
)
from benchmarks.memory.idle import measure
from benchmarks.processes import Running
from benchmarks.results import ROOT
from mirror.route.match import Site, match
from mirror.route.route import Kind, Route
from mirror.verify.crate_index import parse_index

_WRK = """Running 3s test @ http://127.0.0.1:1/a
  100 requests in 2.00s, 219.38MB read
figures: {{"requests": 100, "bytes": 4000, "us": 2000000, "p50_us": 414, "p99_us": 1690, \
"status": {status}, "socket": {socket}}}
"""
_H2LOAD = """starting benchmark...
finished in {took}, 41500.33 req/s, 83.20MB/s
requests: 1000 total, 1010 started, 1000 done, 1000 succeeded, {failed} failed, 0 errored, 0 timeout
status codes: 1000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.03MB (2130000) total, 0.1MB (130000) headers (space savings 10.00%), 1.9MB (2000000) data
"""


def test_wrk_is_read_to_the_byte() -> None:
    found = parse_wrk(_WRK.format(status=0, socket=0))
    expected = Load(requests=100, received_bytes=4000, duration_s=2.0, p50_us=414, p99_us=1690)
    assert found == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_WRK.format(status=1, socket=0), id="another-status"),
        pytest.param(_WRK.format(status=0, socket=1), id="socket-error"),
        pytest.param("unable to connect", id="no-report"),
    ],
)
def test_a_round_of_wrk_with_errors_is_refused(text: str) -> None:
    with pytest.raises(RuntimeError, match=r"wrk"):
        parse_wrk(text)


@pytest.mark.parametrize(("took", "seconds"), [("2.00s", 2.0), ("500.00ms", 0.5)])
def test_h2load_is_read_by_its_content_bytes(took: str, seconds: float) -> None:
    found = parse_h2load(_H2LOAD.format(took=took, failed=0))
    assert found == Load(requests=1000, received_bytes=2_000_000, duration_s=seconds)


@pytest.mark.parametrize("text", [_H2LOAD.format(took="1s", failed=2), "could not connect"])
def test_a_round_of_h2load_with_errors_is_refused(text: str) -> None:
    with pytest.raises(RuntimeError, match="h2load"):
        parse_h2load(text)


def test_cpu_time_is_told_per_request_and_per_megabyte() -> None:
    load = Load(requests=1000, received_bytes=4_000_000, duration_s=2.0)
    found = round_of(load, server_cpu_s=1.0, client_cpu_s=1.5)
    assert (found.requests_per_s, found.mb_per_s) == (500.0, 2.0)
    assert (found.cpu_us_per_request, found.cpu_us_per_mb) == (1000.0, 250_000.0)
    assert (found.server_busy_ratio, found.client_busy_ratio) == (0.5, 0.75)


def test_a_round_without_an_answer_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no answer"):
        round_of(Load(requests=0, received_bytes=0, duration_s=1.0), server_cpu_s=0, client_cpu_s=0)


def _round(rate: float, cpu: float = 10.0) -> Round:
    return Round(
        requests_per_s=rate,
        mb_per_s=rate,
        cpu_us_per_request=cpu,
        cpu_us_per_mb=cpu,
        server_busy_ratio=1.0,
        client_busy_ratio=0.5,
        p50_us=1.0,
        p99_us=2.0,
    )


def test_medians_are_taken_of_each_figure() -> None:
    found = median_round([_round(1.0, 30.0), _round(3.0, 10.0), _round(2.0, 20.0)])
    assert (found.requests_per_s, found.cpu_us_per_request) == (2.0, 20.0)


def test_scatter_is_the_whole_width_by_the_median() -> None:
    assert scatter([90.0, 100.0, 105.0]) == pytest.approx(0.15)
    assert scatter([0.0, 0.0]) == 0.0


def _attempt(
    mirror: Sequence[float], nginx: Sequence[float], name: str = NGINX
) -> dict[str, list[Round]]:
    return {MIRROR: [_round(x, x) for x in mirror], name: [_round(x, x) for x in nginx]}


def _requirement(figure: Figure = Figure.REQUESTS, required: float = 1.1) -> Requirement:
    return Requirement(
        label="40 KB h1", case=cases.MIDDLE_H1, rival=NGINX, figure=figure, required=required
    )


_CALM, _WILD = (100.0, 101.0, 102.0), (80.0, 100.0, 120.0)


@pytest.mark.parametrize(
    ("figure", "mirror", "outcome"),
    [
        pytest.param(Figure.REQUESTS, (120, 120, 120), Outcome.MET, id="faster"),
        pytest.param(Figure.REQUESTS, (105, 105, 105), Outcome.MISSED, id="not-enough"),
        pytest.param(Figure.CPU_PER_MB, (105, 105, 105), Outcome.MET, id="cheap"),
        pytest.param(Figure.CPU_PER_MB, (120, 120, 120), Outcome.MISSED, id="dear"),
    ],
)
def test_a_row_is_judged_by_medians_in_its_direction(
    figure: Figure, mirror: tuple[float, ...], outcome: Outcome
) -> None:
    row = row_of(_requirement(figure), [_attempt(mirror, _CALM)])
    assert (row.outcome, row.client) == (outcome, "50%")


def test_the_first_calm_attempt_decides_even_when_a_later_one_is_better() -> None:
    attempts = [
        _attempt((200, 300, 400), _CALM),
        _attempt((101, 101, 101), _CALM),
        _attempt((200, 200, 200), _CALM),
    ]
    row = row_of(_requirement(), attempts)
    assert (row.outcome, row.measured, row.attempts) == (Outcome.MISSED, "1.00", 2)


def test_a_row_that_always_scatters_is_not_measured() -> None:
    row = row_of(_requirement(), [_attempt((500, 500, 500), _WILD)] * ATTEMPTS)
    assert row.outcome == Outcome.SCATTERED
    assert row.spread == "40%"


@pytest.mark.parametrize("attempts", [[], [{MIRROR: [_round(1.0)]}]])
def test_without_its_rival_a_row_is_never_met(attempts: list[dict[str, list[Round]]]) -> None:
    assert row_of(_requirement(), attempts).outcome == Outcome.ABSENT


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        pytest.param([_attempt(_CALM, _CALM)], False, id="calm"),
        pytest.param([_attempt(_WILD, _CALM)], True, id="scattered"),
        pytest.param([_attempt(_WILD, _CALM, VARNISH)], True, id="scattered-beside-varnish"),
        pytest.param([_attempt(_WILD, _CALM)] * ATTEMPTS, False, id="three-times"),
        pytest.param([_attempt(_CALM, _CALM), _attempt(_WILD, _WILD)], False, id="once-calm"),
        pytest.param([{MIRROR: [_round(1.0), _round(9.0)]}], False, id="no-rival"),
    ],
)
def test_only_an_undecided_case_is_repeated(
    attempts: list[dict[str, list[Round]]], expected: bool
) -> None:
    assert needs_another(cases.MIDDLE_H1, attempts) is expected


def test_every_required_case_is_in_the_table() -> None:
    assert {item.case for item in REQUIREMENTS} == set(cases.TABLE)


def test_the_matrix_has_every_protocol_and_size_and_no_case_twice() -> None:
    found = cases.matrix()
    assert len({case.name for case in found}) == len(found)
    assert {(case.protocol, case.objects.size) for case in found} >= {
        (protocol, size) for protocol in Protocol for size in cases.MANY
    }


@pytest.mark.parametrize("size", [2 * KB, 40 * KB])
def test_index_files_are_what_the_mirror_stores(tmp_path: Path, size: int) -> None:
    found = publish(tmp_path, ObjectSet(size=size, count=3))
    assert len(set(found.targets)) == len(set(found.digests)) == 3
    for target, length in zip(found.targets, found.lengths, strict=True):
        route = match(target.encode(), Site.ANY)
        assert isinstance(route, Route)
        assert route.kind is Kind.INDEX_FILE
        content = (tmp_path / target.lstrip("/")).read_bytes()
        assert parse_index(content, target.rpartition("/")[2])
        assert length == len(content) == pytest.approx(size, rel=0.1)


def test_archives_have_their_digest_beside_them(tmp_path: Path) -> None:
    found = publish(tmp_path, ObjectSet(size=MB, count=2))
    for target, digest in zip(found.targets, found.digests, strict=True):
        route = match(target.encode(), Site.ANY)
        assert isinstance(route, Route)
        assert route.kind is Kind.ARCHIVE
        stated = (tmp_path / (target + ".sha256").lstrip("/")).read_text()
        assert stated.split()[0] == digest.hex()


def test_memory_is_judged_by_its_limits() -> None:
    figures = {
        "connections": 10_000, "idle_mb": 19.0, "idle_limit_mb": 25.0, "more_mb": 30.1,
        "more_limit_mb": 30.0,
    }  # fmt: skip
    at_rest, more = memory_rows(figures)
    assert (at_rest.outcome, at_rest.measured) == (Outcome.MET, "19.0")
    assert (more.outcome, more.required) == (Outcome.MISSED, "≤ 30")
    assert more.label.startswith("10,000 idle connections")


@pytest.mark.full
def test_idle_connections_are_held_while_memory_is_read() -> None:
    found = measure(connections=50)
    assert found["connections"] == 50
    assert isinstance(found["idle_mb"], float)
    assert 5 < found["idle_mb"] < 100


def test_a_profile_is_of_the_process_that_worked_meanwhile() -> None:
    """The keeper may have worked more before."""
    line = ("mirror/a.py", "a", 1)
    before = {1: Counts({line: 900}), 2: Counts({line: 5})}
    after = {1: Counts({line: 901}), 2: Counts({line: 25}), 3: Counts({line: 3})}
    assert busiest(before, after) == Counts({line: 20})
    assert busiest({}, {}) == Counts()


def test_a_fill_is_judged_by_the_machine_it_ran_on() -> None:
    figures = {
        "ratio": 0.85, "required_ratio": 0.8, "spread_ratio": 0.1, "mb_per_s": 425.0,
        "followers": 8,
    }  # fmt: skip
    row = cold_fill_row(figures, attempts=1)
    assert (row.outcome, row.mirror, row.other) == (Outcome.MET, "425", "500")
    assert cold_fill_row({**figures, "ratio": 0.79}, attempts=1).outcome == Outcome.MISSED
    assert cold_fill_row({**figures, "spread_ratio": 0.2}, attempts=3).outcome == Outcome.SCATTERED


def test_an_unknown_congestion_control_is_refused() -> None:
    with pytest.raises(namespace.CongestionError, match="no absent here"):
        namespace.set_congestion("absent")


def _server(name: str, *protocols: Protocol) -> Server:
    running = Running(name=name, pid=0, log=Path())
    return Server(name=name, bases=dict.fromkeys(protocols, "http://x"), running=running)


def test_the_table_is_measured_once_in_half_of_its_time() -> None:
    """The other half is for starting, filling and repeating."""
    running = [_server(MIRROR, *Protocol), _server(NGINX, *Protocol),
               _server(VARNISH, Protocol.HTTP1)]  # fmt: skip
    least = {case: least_s(case, running, rounds=3, duration_s=3.0) for case in cases.TABLE}
    assert least[cases.SMALL_H1] == 3 * 10
    assert least[cases.SMALL_H2C] == 2 * 10
    assert sum(least.values()) <= REPEAT_UNTIL_S / 2


def _run(
    *arguments: str, path: str | None = None, module: str = "benchmarks.hit"
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PATH": path} if path is not None else {})}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=110, env=environment,
    )  # fmt: skip


def test_without_clients_it_says_what_to_install(tmp_path: Path) -> None:
    done = _run(path=str(tmp_path))
    assert done.returncode == 1
    assert "apt-get install wrk" in done.stderr
    assert "apt-get install nghttp2-client" in done.stderr


_needs_clients = pytest.mark.skipif(
    not (shutil.which("wrk") and shutil.which("h2load")), reason="wrk and h2load are needed"
)


@pytest.mark.full
@_needs_clients
def test_a_profile_finds_the_lines_of_the_worker() -> None:
    done = _run("--only", cases.MIDDLE_H1.name, "--duration", "3", module="benchmarks.hit.profile")
    assert done.returncode == 0, done.stderr
    assert "in the kernel" in done.stdout
    assert "serve/" in done.stdout


@pytest.mark.full
@_needs_clients
@pytest.mark.parametrize(
    "case", [cases.MIDDLE_TLS_H2, cases.RESUMED_HANDSHAKE], ids=lambda c: c.name
)
def test_a_short_run_measures_all_servers(tmp_path: Path, case: Case) -> None:
    done = _run("--only", case.name, "--rounds", "1", "--duration", "1", "--into", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*-hit.json")
    result = json.loads(path.read_text())
    (measured,) = result["cases"].values()
    assert measured["medians"][MIRROR]["cpu_us_per_request"] > 0
    assert [row["rival"] for row in result["rows"]] == [NGINX]
    assert (result["rows"][0]["measured"] == "-") is (shutil.which("nginx") is None)
