"""A compressed CI day: report, ledger, access log, clients, sockets and upstream say the same.

Nothing is killed and everything is written, so that every comparison is exact. Only what clients
abandon is not: what the kernel still held was sent, and read by nobody.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ci_clients import live
from benchmarks.ci_receipts import Receipt, Receipts
from benchmarks.ci_traffic import Shape, plan_day
from benchmarks.recompute import Asked, recompute
from benchmarks.recompute_costs import read_prices
from benchmarks.recompute_log import Log, LogError, read_log
from mirror.cli.history import open_history
from mirror.simulator.process import start_simulator
from tests.scenario.ci_day import (
    CLOUD,
    FARM,
    GROUP_NAMES,
    GROUPS,
    OTHERS,
    PLAIN,
    Books,
    LedgerSums,
    ledger_of,
    open_books,
    place_of,
    report_of,
    simulated_catalogue,
)
from tests.scenario.edge import Edge

pytestmark = pytest.mark.full

ROOT = Path(__file__).parent.parent.parent
BY = ("class", "group")
_SERVED = ("requests", "served_bytes", "head_bytes", "ranged", "not_modified", "cut", "outcomes")
_CLASS_OF_UPSTREAM = {
    "archive": "release", "channel": "release", "proof": "release", "other": "release",
    "rustup": "rustup", "crate": "crate", "index": "index",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What everybody says of a day that is over."""

    receipts: Receipts
    log: Log
    ledger: LedgerSums
    upstream: dict[str, Any]
    while_running: dict[str, Any]
    report: dict[str, Any]
    books: Books
    edge: Edge


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((Shape(jobs=30, groups=GROUPS, crates_per_project=10), 1.0), id="small"),
        pytest.param(
            (Shape(jobs=250, groups=GROUPS, crates_per_project=40), 10.0),
            id="large",
            marks=pytest.mark.full,
        ),
    ],
)
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Day:
    shape, day_in_s = request.param
    books = open_books(tmp_path_factory.mktemp("books"))
    plan = plan_day(simulated_catalogue(), shape, seed=2)
    receipts = Receipts()
    with (
        start_simulator() as simulator,
        Edge(books.folder / "edge", simulator, settings=books.settings) as edge,
    ):
        live(plan, place_of(edge, books), receipts, day_in_s=day_in_s)
        while_running = report_of(edge, books, by=",".join(BY))
        assert edge.stop() == 0
        upstream = simulator.control.counts()
    assert edge.own_faults() == []
    assert receipts.given_up == []
    return Day(
        receipts=receipts,
        log=read_log(books.log),
        ledger=ledger_of(edge),
        upstream=upstream,
        while_running=while_running,
        report=report_of(edge, books, by=",".join(BY)),
        books=books,
        edge=edge,
    )


def asked_of(day: Day) -> Asked:
    span = day.report["span"]
    return Asked(
        since=datetime.fromisoformat(span["since"]).timestamp(),
        until=datetime.fromisoformat(span["until"]).timestamp(),
        now=datetime.fromisoformat(day.report["generated_at"]).timestamp(),
        by=BY,
    )


@pytest.fixture(scope="module")
def figures(day: Day) -> dict[str, Any]:
    return recompute(day.log, read_prices(day.books.prices), asked_of(day))


def is_of_one_hour(day: Day) -> bool:
    """Whether no full hour lay between the first line and the report.

    A roll-up counts for the hour that it closes: what is near a full hour may be of either.
    """
    hours = {line["date_time"][:13] for line in day.log.all()}
    return hours == {day.report["generated_at"][:13]}


# The report.


def test_every_figure_of_the_report_is_recomputed_from_the_access_log(
    day: Day, figures: dict[str, Any]
) -> None:
    report = day.report
    assert report["total"] == figures["total"]
    assert report["own_answers"] == figures["own_answers"]
    assert report["growth"] == figures["growth"]
    assert report["month"]["projected"] == figures["month"]["projected"]
    rows = {tuple(row[name] for name in BY): row for row in report["rows"]}
    assert rows.keys() == figures["rows"].keys()
    # What was fetched is divided among groups hour by hour; see `is_of_one_hour`.
    names = _SERVED if not is_of_one_hour(day) else report["rows"][0].keys() - set(BY)
    for key, row in figures["rows"].items():
        assert {name: rows[key][name] for name in names} == {name: row[name] for name in names}
    assert _without_hours(report["upstreams"]) == _without_hours(figures["upstreams"])


def test_months_and_hours_are_recomputed_too(day: Day, figures: dict[str, Any]) -> None:
    report = day.report
    if is_of_one_hour(day):
        assert report["month"]["to_date"] == figures["month"]["to_date"]
        assert report["points"] == figures["points"]
        assert report["upstreams"] == figures["upstreams"]
    for name in ("requests", "served_bytes", "fetched_bytes"):
        sums = [sum(point[name] for point in each["points"]) for each in (report, figures)]
        assert sums[0] == sums[1] > 0


def test_a_report_beside_a_running_mirror_says_what_one_after_its_end_says(day: Day) -> None:
    """The access log is written later than a response is counted; the ledger is of this moment."""
    for name in ("total", "own_answers", "rows"):
        assert day.while_running[name] == day.report[name]


def test_a_day_has_traffic_of_every_kind(day: Day) -> None:
    """What does not occur was not compared."""
    total = day.report["total"]
    assert {"hit", "miss", "negative"} <= set(total["outcomes"])
    assert min(total[name] for name in ("ranged", "not_modified", "cut")) > 0
    assert min(total[f"{side}_micro"] for side in ("without", "fetched", "egress")) > 0
    assert set(total["payers"]) == {"upstream", "us"}
    assert {row["group"] for row in day.report["rows"]} == set(GROUP_NAMES)
    assert {row["class"] for row in day.report["rows"]} == {"release", "rustup", "crate", "index"}
    lines = day.log.served
    assert {line["http"]["protocol"] for line in lines} == {"HTTP/1.1", "HTTP/2"}
    assert {line["is_tls"] for line in lines} == {True, False}
    assert {line["method"] for line in lines} == {"GET", "HEAD"}


# The ledger, the log, clients, sockets and upstream.


def test_clients_received_what_log_and_ledger_say(day: Day) -> None:
    for group, name in enumerate(GROUP_NAMES):
        lines = [line for line in day.log.served if line["group"] == name]
        ledger = day.ledger.served[name]
        of_group = [each for each in day.receipts.answers if each.status and each.group == group]
        asked = len(of_group)
        assert asked == len(lines) == ledger["requests"] > 0, name
        content = sum(line["bytes"] for line in lines)
        assert content == ledger["content_bytes"], name
        if group != OTHERS:
            assert sum(each.content_bytes for each in of_group) == content, name


def test_what_clients_abandon_is_counted_as_handed_to_the_kernel(day: Day) -> None:
    def is_kept(each: Receipt) -> bool:
        return each.group == OTHERS and not each.is_abandoned

    kept = day.receipts.content_bytes(is_kept)
    abandoned = [each for each in day.receipts.answers if each.is_abandoned]
    read = sum(each.content_bytes for each in abandoned)
    lengths = sum(int(each.target.split("-")[3]) for each in abandoned)
    counted = day.ledger.served["other"]["content_bytes"]
    assert abandoned
    assert kept + read <= counted <= kept + lengths


def test_plaintext_sockets_received_what_the_ledger_counts_as_content_and_heads(day: Day) -> None:
    """The kernel's own count of bytes, of every connection of the group that speaks HTTP/1.1."""
    ledger = day.ledger.served["plain"]
    received = day.receipts.received_bytes([PLAIN])
    assert received == ledger["content_bytes"] + ledger["head_bytes"] > 0


def test_heads_are_counted_apart_and_to_the_byte(day: Day) -> None:
    heads = day.receipts.sum_of(lambda each: each.head_bytes, lambda each: each.group == PLAIN)
    assert day.ledger.served["plain"]["head_bytes"] == heads


def test_upstream_sent_what_log_and_ledger_say(day: Day) -> None:
    sent: Counter[tuple[str, str]] = Counter()
    for name, count in day.upstream["classes"].items():
        sent[_CLASS_OF_UPSTREAM[name], "requests"] += count["requests"]
        sent[_CLASS_OF_UPSTREAM[name], "content_bytes"] += count["bytes"]
        sent[_CLASS_OF_UPSTREAM[name], "not_modified"] += count["not_modified"]
        sent[_CLASS_OF_UPSTREAM[name], "ranged"] += count["ranged"]
    logged: Counter[tuple[str, str]] = Counter()
    for line in day.log.fetched:
        logged[line["class"], "requests"] += 1
        logged[line["class"], "content_bytes"] += line["bytes"]
        logged[line["class"], "not_modified"] += line["status"] == 304
        logged[line["class"], "ranged"] += line["status"] == 206
    counted = Counter(
        {
            (content_class, column): columns[column]
            for content_class, columns in day.ledger.fetched.items()
            for column in ("requests", "content_bytes", "not_modified", "ranged")
        }
    )
    assert +logged == +counted
    # The page of an error may be left unread: a few hundred bytes that upstream had sent.
    unread = {key: amount - counted[key] for key, amount in sent.items() if amount != counted[key]}
    assert {column for _, column in unread} <= {"content_bytes"}, unread
    assert all(amount >= 0 for amount in unread.values()), unread
    assert sum(unread.values()) <= 512 * day.upstream["total"]["errors"]


def test_groups_are_told_apart_by_address_and_by_a_proxys_field(day: Day) -> None:
    for group, prefix in ((PLAIN, "127.10."), (CLOUD, "127.11."), (FARM, "127.12.")):
        lines = [line for line in day.log.served if line["group"] == GROUP_NAMES[group]]
        assert {line["ip"][:7] for line in lines} == {prefix}


def test_most_requested_objects_are_within_their_stated_error(day: Day) -> None:
    asked = Counter(_object_of(line) for line in day.log.served if line["upstream"])
    assert day.report["objects"]
    for line in day.report["objects"]:
        true = asked[line["key"]]
        assert line["requests"] <= true <= line["requests"] + line["error"], line


def test_a_store_that_holds_everything_misses_first_requests_only(day: Day) -> None:
    """The curve is of a sample; at sizes above all there is it must be this, within two points."""
    lines = [line for line in day.log.served if line["upstream"] and line["status"] < 400]
    if not day.report["curve"]:
        assert len(lines) < 2000, "a small day says nothing yet, a large one does"
        return
    objects = {_object_of(line) for line in lines}
    expected = 1 - len(objects) / len(lines)
    largest = max(day.report["curve"], key=lambda point: int(point["store_bytes"]))
    assert abs(largest["request_hit_ratio"] - expected) < 0.02


def test_downloads_are_those_that_cargo_completed(day: Day) -> None:
    def is_download(line: dict[str, Any]) -> bool:
        agent = line["http"]["useragent"]
        is_whole = line["status"] == 200 and line["complete"] and line["method"] == "GET"
        return bool(is_whole and line["class"] == "crate" and agent.startswith("cargo/"))

    expected = Counter(
        line["url"].rpartition("/")[2] for line in map(dict, day.log.served) if is_download(line)
    )
    with open_history(str(day.edge.state)) as history:
        counted = Counter(
            {
                f"{line.crate}-{line.version}.crate": line.downloads
                for line in history.downloads(0, 1 << 40)
            }
        )
    assert counted == expected
    assert expected.total() > 0


# The script.


def test_the_script_imports_nothing_of_the_mirror() -> None:
    code = (
        "import sys; sys.modules['mirror'] = None; import benchmarks.recompute;"
        "print([n for n in sys.modules if n.startswith('mirror.')])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (printed.returncode, printed.stdout) == (0, "[]\n"), printed.stderr


def test_the_script_prints_the_figures(day: Day) -> None:
    span, now = day.report["span"], day.report["generated_at"]
    command = [sys.executable, "-m", "benchmarks.recompute", str(day.books.log)]
    command += ["--prices", str(day.books.prices), "--by", "class", "--now", now]
    command += ["--since", span["since"], "--until", span["until"]]
    printed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout)["total"] == day.report["total"]


def test_one_byte_more_in_one_line_is_noticed(day: Day) -> None:
    spoiled = list(map(dict, day.log.all()))
    spoiled[len(day.log.served) // 2]["bytes"] += 1  # in mid-span: the first may lie before it
    figures = recompute(Log(spoiled), read_prices(day.books.prices), asked_of(day))
    assert figures["total"] != day.report["total"]


def test_a_sampled_log_is_refused(day: Day) -> None:
    with pytest.raises(LogError, match="sampled"):
        Log([{**line, "weight": 10} for line in day.log.served])


def _without_hours(upstreams: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in each.items() if not name.startswith("busiest")}
        for each in upstreams
    ]


def _object_of(line: Any) -> str:
    """Return the mirror's name of the object that a line is about."""
    path = "/" + line["url"].split("/", 3)[3]
    pool = line["upstream"]
    return f"{pool}:{path.removeprefix('/index') if pool == 'index' else path}"
