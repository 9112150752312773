"""`mirror.accounting.report_rows`: however a table is cut, its rows add up to the same."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.accounting.days import DAY_S
from mirror.accounting.history import Step
from mirror.accounting.prices import Prices
from mirror.accounting.report_rows import DIMENSIONS, Lines, Table, build_table, lines_of
from tests.unit.accounting.fake_history import CRATES, FakeHistory
from tests.unit.accounting.meters import GB, meter, prices, tiers

DAY = 20_000 * DAY_S
PRICES = prices(
    meter(tiers=tiers((3, 90_000), (None, 20_000)), micro_per_10000_requests=7_500),
    meter(name="ci's way", payer="us", groups=("ci",), upstreams=("crates",)),
    meter(name="the mirror's way", payer="us", urls=(CRATES,)),
)
BYS = [by for size in range(4) for by in combinations(DIMENSIONS, size)]

_SERVED = st.tuples(
    st.integers(0, 40),
    st.sampled_from(["release", "rustup", "crate", "index", "other"]),
    st.sampled_from(["hit", "miss", "collapsed", "failed"]),
    st.sampled_from(["ci", "offices", "other"]),
    st.integers(0, 5 * GB),
    st.integers(0, 1000),
)
_FETCHED = st.tuples(
    st.integers(0, 40),
    st.sampled_from(["release", "rustup", "crate", "index"]),
    st.integers(0, 5 * GB),
    st.integers(0, 1000),
)


def _lines(served: list[tuple[int, str, str, str, int, int]], fetched: list[tuple]) -> Lines:  # type: ignore[type-arg]  # rows of the strategies above
    history = FakeHistory()
    for day, content_class, outcome, group, content_bytes, requests in served:
        at = DAY + day * DAY_S
        history.serve(
            at, content_class, outcome, group, content_bytes=content_bytes, requests=requests
        )
    for day, content_class, content_bytes, requests in fetched:
        at = DAY + day * DAY_S
        history.fetch(at, content_class, content_bytes=content_bytes, requests=requests)
    until = DAY + 100 * DAY_S
    return lines_of(history.served(0, until, Step.DAY), history.fetched(0, until, Step.DAY))


@settings(max_examples=60)
@given(
    served=st.lists(_SERVED, max_size=12),
    fetched=st.lists(_FETCHED, max_size=8),
    by=st.sampled_from(BYS),
)
def test_rows_add_up_to_the_total_whatever_they_are_by(
    served: list[tuple[int, str, str, str, int, int]],
    fetched: list[tuple[int, str, int, int]],
    by: tuple[str, ...],
) -> None:
    lines = _lines(served, fetched)
    table = build_table(lines, lines, PRICES, by)
    total = table.total
    assert total.fetched is not None
    assert total.fetched.content_bytes == sum(row[2] for row in fetched)
    assert total.served_bytes == sum(row[4] for row in served if row[1] != "other")
    assert table.costs.total == build_table(lines, lines, PRICES, ()).costs.total
    for name in ("requests", "served_bytes"):
        assert getattr(total, name) == sum(getattr(row.figures, name) for row in table.rows)
    if "outcome" in by:
        assert all(row.figures.saved_bytes is None for row in table.rows)
        return
    assert total.saved_bytes == sum(row.figures.saved_bytes or 0 for row in table.rows)
    assert total.spared_requests == sum(row.figures.spared_requests or 0 for row in table.rows)
    costs = [table.costs.rows[row.key].avoided_micro for row in table.rows]
    assert table.costs.total.avoided_micro == sum(costs)


@settings(max_examples=40)
@given(served=st.lists(_SERVED, max_size=12), fetched=st.lists(_FETCHED, max_size=8))
def test_a_group_has_the_same_figures_in_every_table(
    served: list[tuple[int, str, str, str, int, int]], fetched: list[tuple[int, str, int, int]]
) -> None:
    lines = _lines(served, fetched)

    def by_group(table: Table) -> dict[str, int]:
        sums: dict[str, int] = {}
        for row in table.rows:
            group = row.key[table.by.index("group")]
            sums[group] = sums.get(group, 0) + (row.figures.saved_bytes or 0)
        return sums

    alone = by_group(build_table(lines, lines, PRICES, ("group",)))
    for by in (("class", "group"), ("group", "month"), ("day", "group", "upstream")):
        assert by_group(build_table(lines, lines, PRICES, by)) == alone


def test_what_is_fetched_is_divided_by_the_bytes_taken_in_the_step() -> None:
    history = FakeHistory()
    history.serve(DAY, "crate", "hit", "ci", content_bytes=900)
    history.serve(DAY, "crate", "miss", "other", content_bytes=100)
    history.serve(DAY + DAY_S, "crate", "hit", "other", content_bytes=1000)
    history.fetch(DAY, "crate", content_bytes=500)  # while both took: 450 and 50
    history.fetch(DAY + 2 * DAY_S, "crate", content_bytes=200)  # nobody took: by the span
    history.fetch(DAY, "index", content_bytes=30)  # nobody took any of the class: "other"
    lines = lines_of(
        history.served(0, DAY + 9 * DAY_S, Step.DAY), history.fetched(0, DAY + 9 * DAY_S, Step.DAY)
    )
    table = build_table(lines, lines, PRICES, ("group",))
    fetched = {row.key[0]: row.figures.fetched for row in table.rows}
    assert {name: f.content_bytes for name, f in fetched.items() if f} == {
        "ci": 450 + 90,
        "other": 50 + 110 + 30,
    }


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        (("day",), [("2024-10-04",), ("2024-10-05",)]),
        (("week",), [("2024-W40",)]),
        (("month",), [("2024-10",)]),
        (("hour",), [("2024-10-04T00:00:00Z",), ("2024-10-05T00:00:00Z",)]),
        (("upstream",), [("crates",), ("releases",)]),
        (("class",), [("crate",), ("release",)]),
        ((), [()]),
    ],
)
def test_rows_are_named_by_what_they_are_by(
    by: tuple[str, ...], keys: list[tuple[str, ...]]
) -> None:
    """Times run forward; without them the most bytes come first."""
    lines = _lines([(0, "release", "hit", "ci", 5, 1), (1, "crate", "hit", "ci", 9, 1)], [])
    assert [row.key for row in build_table(lines, lines, PRICES, by).rows] == keys


def test_what_has_no_class_is_neither_saved_nor_priced() -> None:
    lines = _lines([(0, "other", "refused", "ci", 7 * GB, 3)], [])
    table = build_table(lines, lines, PRICES, ("class",))
    assert (table.rows, table.total.served_bytes) == ((), 0)
    assert table.costs.total.without_micro == 0
    assert [line.columns["requests"] for line in lines.own] == [3]


def test_no_lines_give_an_empty_table() -> None:
    empty = Lines(served=(), fetched=())
    table = build_table(empty, empty, Prices(currency="EUR", meters=(), is_example=False), ("day",))
    assert (table.rows, table.costs.payers, table.total.request_hit_ratio) == ((), {}, None)
