"""The dashboard's routes over a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from mirror.accounting.layout import Outcome
from mirror.accounting.totals import Totals
from mirror.clock import SystemClock
from mirror.config import Config, State
from mirror.config import Store as StoreConfig
from mirror.control.dashboard import Dashboard, DashboardSource
from mirror.control.hosts import AllowedHosts
from mirror.control.objects import ObjectSource
from mirror.control.overview import SHOWN_FILLS, SHOWN_REFUSED, OverviewSource, RecentEvents
from mirror.control.server import ControlServer
from mirror.control.status import StatusSource
from mirror.errors import StoreError
from mirror.store.page import SharedPage
from tests.unit.control.test_live import KeptEvents
from tests.unit.control.test_objects import FakeFill, FakeFills, FakeQuarantine, FakeStore
from tests.unit.control.test_spans import FakeHistory

_LONG = {"served": ("other", "crate", Outcome.HIT.value, "content_bytes")}


@dataclass
class Shown:
    url: str
    client: aiohttp.ClientSession
    state: Path
    fills: FakeFills
    trouble: list[Exception]

    async def get(self, path: str, **fields: str) -> tuple[int, Any, aiohttp.ClientResponse]:
        async with self.client.get(self.url + path, headers=fields) as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, orjson.loads(content) if is_json else content, response


@pytest.fixture
async def shown(tmp_path: Path) -> AsyncIterator[Shown]:
    state = tmp_path / "state"
    (state / "events").mkdir(parents=True)
    config = Config(state=State(path=str(state)), store=StoreConfig(path=str(tmp_path)))
    trouble: list[Exception] = []

    def totals() -> Totals:
        if trouble:
            raise trouble[0]
        return Totals({("served", *_LONG["served"]): 7, ("total", "evicted_blobs", "total"): 2})

    page = SharedPage.create(str(tmp_path / "page"), 1)
    status = StatusSource(config=config, page=page, clock=SystemClock(), traffic=dict)
    fills = FakeFills()
    dashboard = Dashboard(
        DashboardSource(
            overview=OverviewSource(
                status=status, fills=fills, totals=totals, events=RecentEvents(str(state))
            ),
            objects=ObjectSource(
                config=config, reader=FakeStore(), fills=fills, quarantine=FakeQuarantine()
            ),
            history=FakeHistory([], []),
            money=lambda span, now: {"currency": "EUR"},
        ),
        KeptEvents(),
    )
    server = ControlServer(dict, AllowedHosts("", ()), dashboard=dashboard)
    sock = socket.create_server(("127.0.0.1", 0))
    await server.start(str(tmp_path / "control.sock"), [sock])
    async with aiohttp.ClientSession() as client:
        yield Shown(f"http://127.0.0.1:{sock.getsockname()[1]}", client, state, fills, trouble)
    await server.aclose()


async def test_pages_carry_their_guards(shown: Shown) -> None:
    for path in ("/", "/object?key=x", "/assets/dashboard.js"):
        status, _, response = await shown.get(path)
        assert status == 200
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_no_file_beyond_the_table_is_served(shown: Shown) -> None:
    for path in (
        "/assets/../server.py",
        "/assets/%2e%2e/server.py",
        "/assets/",
        "/pages/index.html",
    ):
        status, _, _ = await shown.get(path)
        assert status == 404


@pytest.mark.parametrize("path", ["/", "/object", "/api/overview", "/api/history", "/events"])
async def test_rebinding_attack_gets_no_figures(shown: Shown, path: str) -> None:
    status, content, _ = await shown.get(path, Host="attacker.example")
    assert status == 421
    assert b"figures" not in content


@pytest.mark.parametrize("path", ["/api/overview", "/api/history", "/api/object?key=x", "/events"])
async def test_pages_of_other_sites_are_refused(shown: Shown, path: str) -> None:
    status, document, _ = await shown.get(path, **{"Sec-Fetch-Site": "cross-site"})
    assert (status, list(document)) == (403, ["trouble"])


async def test_nothing_can_be_changed(shown: Shown) -> None:
    for path in ("/", "/api/overview", "/events"):
        async with shown.client.post(shown.url + path) as response:
            assert response.status == 405


async def test_the_overview_has_every_section(shown: Shown) -> None:
    status, document, response = await shown.get("/api/overview")
    assert status == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert set(document) == {
        "mirror", "fills", "upstreams", "trust", "processes", "events", "store", "traffic"
    }  # fmt: skip
    assert document["traffic"]["classes"]["crate"]["served_bytes"] == 7
    assert document["traffic"]["totals"] == {"evicted_blobs": 2}


async def test_lists_are_bounded_and_refusals_outlast_noise(shown: Shown) -> None:
    key = "releases:/dist/x"
    shown.fills.flights = [FakeFill(f"{key}{n}", (), 0.0, None) for n in range(100)]
    lines = [b'{"time":"2026-01-01T00:00:00Z","level":"error","event":"digest-mismatch"}'] * 50
    lines += [b'{"time":"2026-01-02T00:00:00Z","level":"info","event":"worker-ready"}'] * 200
    (shown.state / "events" / "keeper.jsonl").write_bytes(b"\n".join(lines))
    _, document, _ = await shown.get("/api/overview")
    assert (document["fills"]["count"], len(document["fills"]["shown"])) == (100, SHOWN_FILLS)
    assert document["fills"]["shown"][0]["length_bytes"] is None
    events = document["events"]
    assert (events["refused_total"], len(events["refused"])) == (50, SHOWN_REFUSED)
    assert {event["event"] for event in events["shown"]} == {"worker-ready"}


def test_events_are_read_again_only_when_there_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "events" / "keeper.jsonl"
    path.parent.mkdir()
    events = RecentEvents(str(tmp_path))
    assert events.section() == {"shown": [], "refused": [], "refused_total": 0}
    path.write_bytes(b'{"time":"1","level":"error","event":"digest-mismatch"}\n')
    section = events.section()
    assert (len(section["shown"]), section["refused_total"]) == (1, 1)
    assert events.section() is section
    os.replace(path, path.with_suffix(".old"))  # as a full file is put aside
    path.write_bytes(b'{"time":"2","level":"info","event":"ready"}\n')
    assert [event["time"] for event in events.section()["shown"]] == ["2", "1"]


async def test_counters_that_cannot_be_read_are_told_and_the_rest_is_shown(shown: Shown) -> None:
    shown.trouble.append(StoreError("counters", "cut short"))
    status, document, _ = await shown.get("/api/overview")
    assert status == 200
    assert "cut short" in document["traffic"]["trouble"]


async def test_a_wrong_span_or_name_is_told_in_a_sentence(shown: Shown) -> None:
    for path in ("/api/history?step=7", "/api/object?key=%3Cscript%3E", "/api/object"):
        status, document, _ = await shown.get(path)
        assert status == 400
        assert " " in document["trouble"]


async def test_history_and_objects_are_told(shown: Shown) -> None:
    status, document, _ = await shown.get("/api/history?since=-600&step=60")
    assert (status, document["money"]) == (200, {"currency": "EUR"})
    assert len(document["at"]) in (10, 11)
    status, document, _ = await shown.get("/api/object?key=index:/1/q")
    assert (status, document["verdict"]["word"]) == (200, "miss")
    assert document["top"] == {"requests": 3, "content_bytes": 9, "error": 1}
    assert document["is_logged"] is False
