"""Sizes for people, and text from outside that must not drive the terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from mirror.cli.status_page import print_status
from mirror.cli.tables import size_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (-455, "-455 B"), (150 << 20, "150 MiB"),
     (5 << 30, "5.0 GiB"), (5 << 50, "5120 TiB")],
)  # fmt: skip
def test_size_is_short(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


def page(document: dict[str, Any]) -> str:
    """Return what is printed for a document with these members beside the necessary ones."""
    entry = {"requests": 0, "served_bytes": 0, "upstream_requests": 0, "fetched_bytes": 0,
             "saved_bytes": 0, "hit_ratio": None}  # fmt: skip
    necessary: dict[str, Any] = {
        "version": "1",
        "is_healthy": True,
        "processes": [],
        "store": {"path": "/s", "budget_bytes": 1},
        "traffic": {"classes": {"crate": entry}, "total": entry},
        "events": [],
    }
    output = io.StringIO()
    print_status(necessary | document, Console(file=output, width=160))
    return output.getvalue()


def test_each_url_of_an_upstream_is_shown_with_its_health() -> None:
    well = {"is_failing": False, "is_left_alone": False, "rests_for_s": 0.0, "last_error": "",
            "last_error_at": None, "circuit": "closed", "is_preferred": True}  # fmt: skip
    ago = datetime.now(UTC).timestamp() - 7.2
    failed = {"last_error": "status \x1b[31m[bold]503", "last_error_at": ago}
    urls = [
        well | {"url": "http://well"},
        well | failed | {"url": "http://recovered"},
        well | failed | {"url": "http://failing", "is_failing": True, "rests_for_s": 4.0},
        well | failed | {"url": "http://silent", "is_failing": True},
        well | {"url": "http://angry", "is_left_alone": True, "rests_for_s": 50.0},
        well | failed | {"url": "http://gone", "circuit": "open", "rests_for_s": 9.0},
        well | failed | {"url": "http://tried", "circuit": "half-open"},
        well | failed | {"url": "http://proving", "is_preferred": False},
    ]
    text = page({"upstreams": [{"name": "crates", "urls": urls}]})
    rows = {
        cells[1]: cells[2:4]
        for line in text.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("│").split("│")]) == 4
    }
    told = "7 s ago: status ?[31m[bold]503"
    assert rows["http://well"] == ["ok", "-"]
    assert rows["http://recovered"] == ["ok", told]
    assert rows["http://failing"] == ["FAILING, asked last for 4 s", told]
    assert rows["http://silent"] == ["FAILING", told]
    assert rows["http://angry"] == ["NOT ASKED for 50 s: it said so", "-"]
    assert rows["http://gone"] == ["CIRCUIT OPEN, tried again in 9 s", told]
    assert rows["http://tried"] == ["CIRCUIT HALF-OPEN, one request at a time", told]
    assert rows["http://proving"] == ["ok again, on trial", told]


def test_health_of_upstreams_is_unknown_without_a_keeper() -> None:
    assert "upstreams: unknown (keeper away)" in page({})


def test_event_text_cannot_drive_the_terminal() -> None:
    text = page(
        {
            "is_healthy": False,
            "store": {"path": "[red]/p", "budget_bytes": 1},
            "events": [{"time": "t", "level": "error", "event": "x", "key": "\x1b[31m[bold]a\n"}],
        }
    )
    assert "\x1b" not in text
    assert "[red]/p" in text
    assert "key=?[31m[bold]a?" in text
    assert "NOT HEALTHY" in text
