"""The status document is made from files: it tells of dead processes and needs no keeper."""

from __future__ import annotations

import os
from pathlib import Path

from mirror.accounting.counters import Counters
from mirror.accounting.layout import Outcome, layout_of
from mirror.accounting.totals import read_totals
from mirror.config import Config, State
from mirror.control.status import KeeperView, StatusSource, build_status
from mirror.control.traffic import traffic_of
from mirror.events import open_events
from mirror.route.route import ContentClass
from mirror.store.page import KEEPER_SLOT, SharedPage
from tests.counting import count

NOW, MONOTONIC = 2_000_000_000.0, 500.0


class FixedClock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return MONOTONIC


class Sizes:
    used_bytes = 7
    budget_bytes = 9


def source(state: Path, keeper: KeeperView | None = None) -> StatusSource:
    page = SharedPage.create(str(state / "shared.page"), 4)
    for slot, beat_s in ((KEEPER_SLOT, 499.9), (0, 499.5), (2, 490.0)):
        page.set_pid(slot, os.getpid())
        page.beat(slot, int(beat_s * 1000))
    page.count_restart(2)
    return StatusSource(
        config=Config(state=State(path=str(state))),
        page=page,
        clock=FixedClock(),
        traffic=lambda: traffic_of(read_totals(str(state))),
        keeper=keeper,
    )


def test_each_record_with_a_process_is_told(tmp_path: Path) -> None:
    processes = build_status(source(tmp_path))["processes"]
    told = [
        (p["name"], p["is_alive"], p["heartbeat_age_s"], p["restarts_total"]) for p in processes
    ]
    assert told == [
        ("keeper", True, 0.1, 0),
        ("worker-0", True, 0.5, 0),
        ("worker-2", False, 10.0, 1),
    ]


def test_one_silent_process_makes_the_mirror_unhealthy(tmp_path: Path) -> None:
    assert build_status(source(tmp_path))["is_healthy"] is False


def test_dead_keeper_is_told(tmp_path: Path) -> None:
    made = source(tmp_path)
    made.page.set_pid(KEEPER_SLOT, 0)
    document = build_status(made)
    assert document["processes"][0] == {
        "name": "keeper",
        "pid": 0,
        "is_alive": False,
        "heartbeat_age_s": None,
        "restarts_total": 0,
    }
    assert "used_bytes" not in document["store"]


def test_living_keeper_adds_sizes_and_uptime(tmp_path: Path) -> None:
    view = KeeperView(
        store=Sizes(),
        listen=("127.0.0.1:1",),
        started_at=NOW - 5,
        upstreams=lambda: [{"name": "crates"}],
        channels=lambda: {"stable": "2026-03-05"},
    )
    document = build_status(source(tmp_path, view))
    assert (document["store"]["used_bytes"], document["store"]["budget_bytes"]) == (7, 9)
    assert (document["uptime_s"], document["listen"]) == (5.0, ["127.0.0.1:1"])


def test_events_and_traffic_are_in_it(tmp_path: Path) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    open_events("keeper", str(tmp_path), stderr_fd=null).error("digest-mismatch", key="k")
    os.close(null)
    counters = Counters.open(str(tmp_path), 0, layout_of())
    count(counters, ContentClass.CRATE, Outcome.HIT, requests=3, content_bytes=30)
    count(counters, ContentClass.CRATE, Outcome.MISS, requests=1, content_bytes=10)
    count(counters, ContentClass.CRATE, Outcome.REFUSED, requests=5)
    counters.close()
    document = build_status(source(tmp_path))
    assert document["events"][-1]["key"] == "k"
    crate = document["traffic"]["classes"]["crate"]
    assert (crate["requests"], crate["served_bytes"], crate["hit_ratio"]) == (9, 40, 0.75)
    assert document["traffic"]["total"]["requests"] == 9


def test_ratio_of_nothing_is_no_number(tmp_path: Path) -> None:
    assert build_status(source(tmp_path))["traffic"]["total"]["hit_ratio"] is None
