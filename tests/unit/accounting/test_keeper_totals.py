"""`mirror.accounting.keeper_totals`: the keeper's own sums, from any of its threads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mirror
from mirror.accounting.counters import KEEPER_SLOT, Counters
from mirror.accounting.keeper_totals import VERIFICATION_EVENTS, CountingEvents, KeeperTotals
from mirror.accounting.layout import layout_of


class KeptEvents:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, object]]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.told.append(("info", event, fields))

    def warning(self, event: str, /, **fields: object) -> None:
        self.told.append(("warning", event, fields))

    def error(self, event: str, /, **fields: object) -> None:
        self.told.append(("error", event, fields))


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[Counters]:
    opened = Counters.open(str(tmp_path), KEEPER_SLOT, layout_of())
    yield opened
    opened.close()


def total(counters: Counters, name: str) -> int:
    return counters.view[counters.layout.row("total", name)]


def test_additions_of_many_threads_add_up(counters: Counters) -> None:
    totals = KeeperTotals(counters)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: totals.published(1, 4096), range(4000)))
    assert total(counters, "published_blobs") == 4000
    assert total(counters, "published_bytes") == 4000 * 4096


def test_each_report_has_its_own_sum(counters: Counters) -> None:
    totals = KeeperTotals(counters)
    totals.evicted(2, 500)
    totals.quarantined()
    totals.flight_ended(is_failed=False)
    totals.flight_ended(is_failed=True)
    sums = {name: total(counters, name) for name in ("evicted_blobs", "evicted_bytes", "flights")}
    assert sums == {"evicted_blobs": 2, "evicted_bytes": 500, "flights": 2}
    assert (total(counters, "quarantined"), total(counters, "flights_failed")) == (1, 1)


def test_verification_failures_are_counted_where_they_are_told(counters: Counters) -> None:
    events = KeptEvents()
    counting = CountingEvents(events, KeeperTotals(counters))
    counting.error("digest-mismatch", key="k")
    counting.warning("channel-refused", key="k")
    counting.info("blob-condemned")
    counting.warning("upstream-trouble", key="k")
    assert total(counters, "verification_failures") == 3
    assert [(level, event) for level, event, _ in events.told] == [
        ("error", "digest-mismatch"),
        ("warning", "channel-refused"),
        ("info", "blob-condemned"),
        ("warning", "upstream-trouble"),
    ]
    assert events.told[0][2] == {"key": "k"}


def test_every_verification_event_is_told_somewhere() -> None:
    """A name that nobody tells would count nothing, for ever."""
    own = "keeper_totals.py"
    told = {
        node.value
        for path in Path(mirror.__file__).parent.glob("*/*.py")
        if path.name != own and path.parent.name in ("fill", "store", "upstream")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert told >= VERIFICATION_EVENTS
