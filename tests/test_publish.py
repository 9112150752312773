"""The tables of the documents are those of the results that they name.

Runs in: pytest.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import publish
from benchmarks.publish import DOCUMENTS, checked, published, rendered

_RESULT: dict[str, object] = {
    "name": "hit",
    "at": "2026-11-23T10:00:00+00:00",
    "commit": "0123456789",
    "command": ["python", "-m", "benchmarks.hit"],
    "machine": {"processor": "P", "cores": 2, "kernel": "6", "python": "3.11",
                "nginx": "nginx version: nginx/1.22.1",
                "varnish": "varnishd (varnish-7.1.1 revision 7cee)"},
    "network": "reno (private network namespace)",
    "is_matrix": False,
    "rounds": 3,
    "duration_s": 3.0,
    "rows": [
        {
            "label": "40 KB h1", "rival": "nginx", "figure": "requests/s",
            "required": "≥ 1.1, aim 2", "measured": "1.20", "mirror": "120", "other": "100",
            "spread": "3%", "client": "70%", "outcome": "met",
            "attempts": 1,
        },
        {
            "label": "304", "rival": "varnish", "figure": "requests/s", "required": "≥ 1.5",
            "measured": "1.20", "mirror": "120", "other": "100", "spread": "3%", "client": "70%",
            "outcome": "MISSED", "attempts": 1,
        },
        {
            "label": "worker at rest, Pss", "rival": "a limit", "figure": "MB", "required": "≤ 25",
            "measured": "19.0", "mirror": "19.0", "other": "25", "spread": "-", "client": "-",
            "outcome": "met",
            "attempts": 1,
        },
    ],
    "cases": {},
}  # fmt: skip
_PAGE = (
    "before\n<!-- figures: summary from nothing -->\nold\n<!-- end of figures -->\n"
    "<!-- figures: matrix-cubic from nothing -->\nkept\n<!-- end of figures -->\nafter\n"
)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_named_results(page: Path) -> None:
    """When it fails: python -m benchmarks.publish RESULT.json, and never an edit by hand."""
    assert page.read_text() == checked(page.read_text())


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.name)
def test_every_document_has_a_table(page: Path) -> None:
    assert "<!-- figures: " in page.read_text()


def test_a_result_fills_its_tables_and_no_others() -> None:
    found = published(_PAGE, "x-hit.json", _RESULT)
    assert "<!-- figures: summary from x-hit.json -->" in found
    assert "| 40 KB h1, requests/s | 120 | 1.20 x nginx (≥ 1.1) |" in found
    assert "| 304, requests/s | 120 | 1.20 x varnish (≥ 1.5: MISSED) |" in found
    assert "| worker at rest, Pss, MB | 19.0 | ≤ 25 |" in found
    assert "old" not in found
    assert "<!-- figures: matrix-cubic from nothing -->\nkept\n" in found
    assert found.startswith("before\n")
    assert found.endswith("after\n")


def test_publishing_twice_changes_nothing() -> None:
    once = published(_PAGE, "x-hit.json", _RESULT)
    assert published(once, "x-hit.json", _RESULT) == once


def test_an_edit_by_hand_is_found() -> None:
    results = {"x-hit.json": _RESULT}
    page = checked(published(_PAGE, "x-hit.json", _RESULT), results.__getitem__)
    assert checked(page, results.__getitem__) == page
    edited = page.replace("1.20", "9.99")
    assert checked(edited, results.__getitem__) == page


def test_a_table_of_nothing_says_so() -> None:
    assert "Not measured yet: `make bench`" in checked(_PAGE)


def test_a_matrix_fills_the_tables_of_its_network() -> None:
    matrix = {**_RESULT, "is_matrix": True, "network": "cubic (private network namespace)"}
    found = published(_PAGE, "m-hit.json", matrix)
    assert "<!-- figures: matrix-cubic from m-hit.json -->" in found
    assert "<!-- figures: summary from nothing -->\nold\n" in found
    default = {**matrix, "network": "bbr (the machine's default)"}
    assert publish.kinds_of(default) == ("matrix-default",)


def test_circumstances_name_machine_commit_and_command() -> None:
    text = rendered("circumstances", "x-hit.json", _RESULT)
    for part in (
        "P, 2 cores",
        "nginx/1.22.1",
        "varnish-7.1.1",
        "reno",
        "Commit 0123456789",
        "`python -m benchmarks.hit`",
    ):
        assert part in text
