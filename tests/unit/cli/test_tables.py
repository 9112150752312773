"""Sizes for people, and text from outside that must not drive the terminal."""

from __future__ import annotations

import io

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


def test_event_text_cannot_drive_the_terminal() -> None:
    entry = {"requests": 0, "served_bytes": 0, "upstream_requests": 0, "fetched_bytes": 0,
             "saved_bytes": 0, "hit_ratio": None}  # fmt: skip
    output = io.StringIO()
    print_status(
        {
            "version": "1",
            "is_healthy": False,
            "processes": [],
            "store": {"path": "[red]/p", "budget_bytes": 1},
            "traffic": {"classes": {"crate": entry}, "total": entry},
            "events": [{"time": "t", "level": "error", "event": "x", "key": "\x1b[31m[bold]a\n"}],
        },
        Console(file=output, width=120),
    )
    text = output.getvalue()
    assert "\x1b" not in text
    assert "[red]/p" in text
    assert "key=?[31m[bold]a?" in text
    assert "NOT HEALTHY" in text
