"""A browser and a mirror worth looking at.

Rules:
1. Chromium is the system's; where it is absent these tests are skipped, unless REQUIRE_CLIENTS=1.
2. A page that says anything on its console, or asks for anything from elsewhere, fails its test.

Runs in: pytest.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from mirror.simulator.process import SimulatorProcess, start_simulator
from tests.browser.past import write_past
from tests.browser.traffic import drive, spoil
from tests.scenario.edge import Edge

ROOT = Path(__file__).parent.parent.parent
AXE = ROOT / "requirements" / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
PLOT = ROOT / "mirror" / "control" / "pages" / "vendor" / "uPlot.iife.min.js"
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
_GROUPS = """
[[group]]
name = "github-actions"
networks = ["127.0.0.0/8"]
[[group]]
name = "office"
networks = ["10.0.0.0/8"]
"""
HOSTILE_AGENT = "<img src=x onerror=alert(1)>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A mirror with a past, with traffic, with a refused crate and a slow fill."""

    edge: Edge
    simulator: SimulatorProcess
    url: str
    refused_key: str


def is_needed() -> bool:
    return os.environ.get("REQUIRE_CLIENTS", "") not in ("", "0")


def absent(what: str) -> NoReturn:
    """End the test: skipped, or failed where nothing may be skipped."""
    message = f"{what} to look at pages"
    if is_needed():
        pytest.fail(message)
    pytest.skip(message)


def chromium() -> str:
    return (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or absent("chromium is absent: install it")
    )


@pytest.fixture(scope="module")  # Playwright holds the thread's loop: asynchronous tests follow
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    root = tmp_path_factory.mktemp("watched")
    groups = root / "groups.toml"
    groups.write_text(_GROUPS)
    settings = {
        "control.listen": "127.0.0.1:0",
        "store.budget": "512MiB",
        "accounting.groups": str(groups),
        "log.access": str(root / "access.log"),
        "serve.drain_timeout": "1s",  # a fill goes on for minutes
    }
    with start_simulator() as simulator:
        write_past(root / "state", time.time(), days=40, minutes=90, upstream=simulator.crates_url)
        with Edge(root, simulator, settings=settings) as edge:
            refused_key = spoil(edge, simulator)
            drive(edge, rounds=2)
            edge.get("/crates/io/io-1.0.0.crate", {"User-Agent": HOSTILE_AGENT})
            slow = "/dist/2026-05-15/big-90MB-x86_64-unknown-linux-gnu.tar.gz"
            simulator.control.faults({"kind": "rate", "path": slow, "bytes_per_s": 400_000})
            threading.Thread(target=_ask, args=(edge, slow), daemon=True).start()
            url = f"http://{edge.named('control-ready')[-1]['listen'][0]}"
            yield Watched(edge=edge, simulator=simulator, url=url, refused_key=refused_key)


def _ask(edge: Edge, path: str) -> None:
    try:
        edge.get(path)
    except (OSError, ValueError):
        return  # the mirror was stopped: the test is over
    except Exception as exc:  # http.client's: cut short for the same reason
        if type(exc).__module__ != "http.client":
            raise


class Looker:
    """Opens pages and notes what they say on the console and whom they ask."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.faults: list[str] = []
        self.bytes_received = 0

    def open(
        self, url: str, *, scheme: str = "light", width: int = 1280, without: str = ""
    ) -> Page:
        """Return the page; `without`: a part of addresses that are answered 404."""
        context = self._browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": 900},
        )
        page = context.new_page()
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        host = url.split("/")[2]
        page.on(
            "request",
            lambda request: (
                None
                if request.url.split("/")[2] == host
                else self.faults.append(f"asked elsewhere: {request.url}")
            ),
        )
        if without:
            page.route(f"**/*{without}*", _absent)
        page.goto(url)
        return page

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(f"{kind}: {text}")


def _absent(route: Route) -> None:
    route.fulfill(status=200, content_type="text/javascript", body="")


@pytest.fixture
def looker(browser: Browser) -> Iterator[Looker]:
    looker = Looker(browser)
    yield looker
    for context in browser.contexts:
        context.close()
    assert looker.faults == []
