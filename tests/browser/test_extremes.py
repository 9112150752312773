"""The dashboard with what an operator hopes never to see: much of everything, and hostile names.

Rules:
1. The documents are the mirror's own, bent by the test: their form is that of the moment.

Runs in: pytest.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Looker, Watched
from tests.browser.test_dashboard import PHONE, serious_faults

pytestmark = [pytest.mark.browser, pytest.mark.full, pytest.mark.timeout(240)]
HOSTILE = "<img src=x onerror=alert(1)>"
LONG = f"crates:/crates/{'very-long-' * 20}/\u202e{'ß' * 40}{HOSTILE}-1.0.0.crate"
HUGE = 2**62
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_Bend = Callable[[dict[str, Any]], None]


def _much(overview: dict[str, Any]) -> None:
    worker = copy.deepcopy(overview["processes"]["shown"][1])
    dead = {"is_alive": False, "pid": 0, "cpu_s": None, "resident_bytes": None}
    overview["processes"]["shown"] += [
        worker | {"name": f"worker-{n}", "restarts_total": HUGE} | (dead if n == 7 else {})
        for n in range(2, 8)
    ]
    overview["processes"]["is_healthy"] = False
    error = f"cannot connect: {HOSTILE}"
    overview["upstreams"] = [
        {
            "name": f"pool-{n}-{HOSTILE}",
            "urls": [
                {
                    "url": f"https://{'upstream-' * 12}{n}.example/{HOSTILE}", "is_failing": True,
                    "is_left_alone": n % 2 == 0, "rests_for_s": 3600.0, "last_error": error,
                    "last_error_at": 1.0,
                }
            ],
        }
        for n in range(16)
    ]  # fmt: skip
    overview["fills"] = {
        "count": 10**6,
        "waiting": HUGE,
        "shown": [
            {
                "key": f"{LONG}{n}", "age_s": 1e9, "landed_bytes": HUGE - 1,
                "sendable_bytes": 0, "length_bytes": HUGE if n % 2 else None,
            }
            for n in range(24)
        ],
    }  # fmt: skip
    event = {
        "time": "2026-01-01T00:00:00+00:00", "level": "error", "event": HOSTILE,
        "process": HOSTILE, "pid": 1, "key": LONG, "hint": HOSTILE, "got": "a" * 4000,
    }  # fmt: skip
    overview["events"] = {"shown": [event] * 40, "refused": [event] * 12, "refused_total": HUGE}
    held = {"key": LONG, "reason": HOSTILE, "accept": HOSTILE, "since_at": 0.0}
    overview["trust"] |= {
        "held": [held] * 100,
        "held_total": HUGE,
        "quarantine": {
            "count": HUGE, "used_bytes": HUGE, "oldest_age_s": HUGE, "newest": [],
        },
    }  # fmt: skip
    overview["store"] |= {"used_bytes": HUGE, "budget_bytes": 1, "disk_free_bytes": 0}
    overview["traffic"]["total"] |= {"served_bytes": HUGE, "saved_bytes": -HUGE}


def _much_of_the_past(history: dict[str, Any]) -> None:
    for columns in history["classes"].values():
        for name in columns:
            columns[name] = [HUGE // 1000] * len(history["at"])
    history["groups"] = [
        {"name": f"{n}-{HOSTILE}{'group' * 30}", "requests": HUGE, "answered": HUGE, "local": 0,
         "served_bytes": HUGE} for n in range(64)
    ]  # fmt: skip
    history["objects"] = [
        {"key": f"{LONG}{n}", "requests": HUGE, "content_bytes": HUGE, "error": HUGE}
        for n in range(20)
    ]
    history["own_answers"] = {"requests": HUGE, "served_bytes": HUGE}


def _nothing(overview: dict[str, Any]) -> None:
    overview["traffic"] = {"trouble": "state.db cannot be read"}
    overview["store"] |= {"used_bytes": None, "disk_free_bytes": None}
    overview["processes"] = {"is_healthy": False, "shown": []}
    overview["upstreams"] = []
    overview["events"] = {"shown": [], "refused": [], "refused_total": 0}
    for name in ("channels", "held", "held_total", "quarantine"):
        overview["trust"].pop(name, None)


def _no_past(history: dict[str, Any]) -> None:
    for columns in history["classes"].values():
        for name in columns:
            columns[name] = [0] * len(history["at"])
    history |= {"first_at": None, "groups": [], "objects": [], "curve": [], "upstreams": []}
    history["outcomes"] = dict.fromkeys(history["outcomes"], 0)
    history["money"] = {"trouble": "prices cannot be used: no such file"}


def _bent(page: Page, url: str, bend: _Bend, bend_past: _Bend) -> None:
    """Let the page see bent documents: one stream that stays open, and each span."""

    def past(route: Route) -> None:
        document = route.fetch().json()
        bend_past(document)
        route.fulfill(status=200, content_type="application/json", body=json.dumps(document))

    overview = page.request.get(f"{url}/api/overview").json()
    bend(overview)
    lines = "".join(f"event: {name}\ndata: {json.dumps(it)}\n\n" for name, it in overview.items())
    page.route("**/api/history*", past)
    page.route(
        "**/api/overview",
        lambda route: route.fulfill(
            status=200, content_type="application/json", body=json.dumps(overview)
        ),
    )
    page.route(
        "**/events",
        lambda route: route.fulfill(status=200, content_type="text/event-stream", body=lines),
    )
    page.reload()


@pytest.mark.parametrize("width", [1280, PHONE])
def test_much_of_everything_stays_readable_and_is_only_text(
    watched: Watched, looker: Looker, width: int
) -> None:
    page = looker.open(f"{watched.url}/", width=width)
    _bent(page, watched.url, _much, _much_of_the_past)
    expect(page.locator("#health")).to_have_text("not healthy")
    expect(page.locator("#processes tbody tr")).to_have_count(9)
    expect(page.locator("#fills li")).to_have_count(24)
    expect(page.locator("#upstreams tbody tr")).to_have_count(16)
    expect(page.locator("#groups")).to_contain_text(HOSTILE)
    expect(page.locator("#events li").first).to_contain_text(HOSTILE)
    assert page.locator("main img").count() == 0
    assert page.evaluate(OVERFLOW) <= 0
    assert serious_faults(page) == []


def test_nothing_at_all_is_said_in_words(watched: Watched, looker: Looker) -> None:
    page = looker.open(f"{watched.url}/")
    _bent(page, watched.url, _nothing, _no_past)
    expect(page.locator("#span-note")).to_have_text("Nothing was counted yet.")
    expect(page.locator("#events")).to_have_text("No event yet.")
    expect(page.locator("#channels")).to_contain_text("No channel was asked for yet.")
    expect(page.locator("#groups")).to_have_text("No client in this span.")
    expect(page.locator("#sums")).to_contain_text("prices cannot be used: no such file")
    expect(page.locator("#alarm")).to_be_hidden()
    expect(page.locator("#now")).to_contain_text("state.db cannot be read")
    assert "NaN" not in page.locator("main").inner_text()
    assert "undefined" not in page.locator("main").inner_text()
    assert serious_faults(page) == []


def test_a_lost_stream_alerts_once_however_long_it_lasts(watched: Watched, looker: Looker) -> None:
    page = looker.open(f"{watched.url}/")
    expect(page.locator("#stream")).to_have_text("live")
    page.evaluate(
        "() => { window.alerts = 0; new MutationObserver(() => { window.alerts += 1; })"
        ".observe(document.getElementById('lost-word'), {childList: true, characterData: true,"
        " subtree: true}); }"
    )
    page.route("**/events", lambda route: route.abort())
    page.route("**/api/overview", lambda route: route.abort())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # it opens it again
    expect(page.locator("#lost-when")).to_have_text("Trying again in 3 s.", timeout=20_000)
    expect(page.locator("#lost-when")).to_have_text("Trying again in 2 s.")
    assert page.evaluate("window.alerts") == 1
    looker.faults[:] = [fault for fault in looker.faults if "ERR_FAILED" not in fault]
