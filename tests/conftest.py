"""What every test shares: the rule for real clients, and their count in the summary.

Rules:
1. A test marked `client` needs real rustup and cargo; `client("cargo")` needs only that one.
2. Where a client is absent the test is skipped with the reason. `REQUIRE_CLIENTS=1` makes every
   skip of such a test, whoever asked for it, a failure: CI cannot pass by testing less.

Runs in: pytest.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator

import pytest
from _pytest.terminal import TerminalReporter

_PROPERTY = "client-scenario"
_CLIENTS = ("rustup", "cargo")


def _clients_required() -> bool:
    return os.environ.get("REQUIRE_CLIENTS", "") not in ("", "0")


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("client")
    if marker is None:
        return
    item.user_properties.append((_PROPERTY, item.nodeid))
    needed = [str(name) for name in marker.args] or list(_CLIENTS)
    absent = [name for name in needed if shutil.which(name) is None]
    if absent:
        pytest.skip(f"{' and '.join(absent)} not on PATH: a scenario with the real client")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.get_closest_marker("client") and _clients_required():
        report.outcome = "failed"
        report.longrepr = f"skipped although REQUIRE_CLIENTS is set: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    ran = skipped = 0
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if not any(name == _PROPERTY for name, _ in getattr(report, "user_properties", ())):
                continue
            if outcome == "skipped":
                skipped += 1
            elif getattr(report, "when", "") == "call":
                ran += 1
    terminalreporter.write_line(f"client scenarios: {ran} ran, {skipped} skipped")
