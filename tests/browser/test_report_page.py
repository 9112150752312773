"""The HTML report in a real browser: light, dark, on a phone, on paper, for assistive technology.

Runs in: pytest (browser).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from mirror.accounting.days import DAY_S, span_of
from mirror.accounting.history import CurvePoint, ObjectLine, Step
from mirror.accounting.price_file import load_prices
from mirror.accounting.report import ReportRequest, build_report
from mirror.accounting.report_page import html_of
from tests.unit.accounting.fake_history import traffic

CHROMIUM = Path("/usr/bin/chromium")
ROOT = Path(__file__).parents[2]
AXE = ROOT / "requirements" / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
NOW = int(datetime(2026, 11, 22, 15, tzinfo=UTC).timestamp())

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists() and os.environ.get("REQUIRE_CLIENTS") != "1",
        reason="no chromium here",
    ),
]


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    history = traffic(NOW, 60)
    history.object_lines = [
        ObjectLine(key="releases:/dist/" + "long-name-" * 12, requests=9, content_bytes=8, error=1)
    ]
    history.points = [
        CurvePoint(store_bytes=size << 30, byte_hit_ratio=ratio, request_hit_ratio=ratio)
        for size, ratio in ((25, 0.5), (100, 0.8), (400, 0.95))
    ]
    request = ReportRequest(
        span=span_of(NOW - 30 * DAY_S, NOW, Step.DAY),
        now=NOW,
        by=("class", "group"),
        title="What mirror.example saved",
        store_bytes=100 << 30,
    )
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(html_of(build_report(history, load_prices(""), request)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def _open(
    browser: Browser, file: Path, width: int, scheme: Literal["light", "dark"]
) -> tuple[Page, list[str]]:
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: told.append(request.url))
    page.goto(file.as_uri())
    return page, [text for text in told if text != file.as_uri()]


VIEWS: list[tuple[int, Literal["light", "dark"]]] = [(1100, "light"), (1100, "dark"), (390, "dark")]


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_page_loads_nothing_and_fits_its_window(
    width: int, scheme: Literal["light", "dark"], browser: Browser, report_file: Path
) -> None:
    page, told = _open(browser, report_file, width, scheme)
    assert told == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.get_by_role("heading", level=1).inner_text() == "What mirror.example saved"
    assert page.locator("svg[role=img]").count() == 2
    is_dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    assert is_dark is (scheme == "dark")
    page.close()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is put in place by `npm ci`")
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_assistive_technology_finds_no_fault(
    width: int, scheme: Literal["light", "dark"], browser: Browser, report_file: Path
) -> None:
    page, _told = _open(browser, report_file, width, scheme)
    page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run()")
    faults = [
        (each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]
    ]
    assert len(found["passes"]) > 10
    assert faults == []
    page.close()


def test_wide_tables_scroll_by_keyboard_on_a_phone(browser: Browser, report_file: Path) -> None:
    page, _told = _open(browser, report_file, 390, "light")
    table = page.get_by_role("region", name="By class and group")
    table.focus()
    before = table.evaluate("each => each.scrollLeft")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "before => document.activeElement.scrollLeft > before", arg=before, timeout=5000
    )
    page.close()


def test_on_paper_it_is_dark_on_light(browser: Browser, report_file: Path) -> None:
    page, _told = _open(browser, report_file, 1100, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    colours = page.evaluate(
        "(style => [style.color, style.backgroundColor])(getComputedStyle(document.body))"
    )
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    page.close()
