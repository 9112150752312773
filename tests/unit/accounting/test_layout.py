"""`mirror.accounting.layout`: every cell has one name, and every name one cell."""

from __future__ import annotations

import pytest

from mirror.accounting.layout import (
    CLASSES,
    FETCHED_COLUMNS,
    LATENCY_COLUMNS,
    OUTCOMES,
    SERVED_COLUMNS,
    TOTALS,
    layout_of,
    layout_of_version_1,
)

LAYOUT = layout_of(("ci", "offices"), ("https://a.example", "https://b.example"))


def test_the_words_are_those_of_the_ledger() -> None:
    """They are names in files and databases: adding is free, changing one loses its history."""
    assert CLASSES == ("release", "rustup", "crate", "index", "other")
    assert (
        *("hit", "miss", "stale", "revalidated"),
        *("collapsed", "negative", "refused", "failed"),
    ) == OUTCOMES


def test_every_cell_has_a_name_of_its_own() -> None:
    names = list(LAYOUT.names())
    assert len(names) == len(set(names)) == LAYOUT.cells
    served, fetched = 3 * 5 * 8 * len(SERVED_COLUMNS), 3 * 5 * len(FETCHED_COLUMNS)
    assert LAYOUT.cells == served + fetched + 3 * 5 * len(LATENCY_COLUMNS) + len(TOTALS)


@pytest.mark.parametrize(
    ("section", "row", "first"),
    [
        ("served", ("ci", "release", "hit"), "requests"),
        ("served", ("other", "other", "failed"), "requests"),
        ("fetched", ("https://b.example", "index"), "requests"),
        ("latency", ("filled", "crate"), "le_5e-05"),
        ("total", ("flights",), "total"),
    ],
)
def test_a_row_is_where_its_names_are(section: str, row: tuple[str, ...], first: str) -> None:
    assert list(LAYOUT.names())[LAYOUT.row(section, *row)] == (section, *row, first)


def test_groups_lie_a_stride_apart() -> None:
    first, second = (LAYOUT.row("served", group, "crate", "miss") for group in ("ci", "offices"))
    assert second - first == LAYOUT.stride("served", 0) == 5 * 8 * len(SERVED_COLUMNS)


@pytest.mark.parametrize("row", [("nobody", "crate", "hit"), ("ci", "crate"), ("ci",)])
def test_a_name_that_it_lacks_is_an_error(row: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        LAYOUT.row("served", *row)


def test_a_section_that_it_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no section"):
        LAYOUT.row("lost")


def test_what_is_zero_has_no_name() -> None:
    cells = [0] * LAYOUT.cells
    cells[LAYOUT.row("served", "ci", "crate", "hit") + 1] = 7
    assert LAYOUT.named(cells) == {("served", "ci", "crate", "hit", "content_bytes"): 7}


def test_version_1_has_the_cells_that_it_had() -> None:
    layout = layout_of_version_1()
    assert layout.cells == 132
    assert layout.row("served", "other", "other", "failed") == 117
    assert layout.row("fetched", "other", "index") == 129
