"""The sketch of frequent keys never lies: bounds hold for every stream."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.frequent import FrequentKeys

streams = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 50)), max_size=300)


@given(streams, st.integers(1, 12), st.integers(1, 12))
def test_true_counts_lie_within_the_stated_error(
    stream: list[tuple[int, int]], capacity: int, limit: int
) -> None:
    sketch, true = FrequentKeys(capacity), Counter[str]()
    for number, requests in stream:
        sketch.add(f"k{number}", requests, 10 * requests)
        true[f"k{number}"] += requests
    top, unlisted = sketch.top(limit)
    assert len(sketch) <= 2 * capacity
    assert sketch.floor <= true.total() / capacity
    for each in top:
        assert each.requests <= true.pop(each.key) <= each.most_requests
        assert each.content_bytes == 10 * each.requests
    assert all(requests <= unlisted for requests in true.values())


def test_few_keys_are_counted_exactly() -> None:
    sketch = FrequentKeys(10)
    for number in range(20):
        sketch.add(f"k{number}", number + 1, 0)
    top, unlisted = sketch.top(3)
    assert [(each.key, each.requests, each.error) for each in top] == [
        ("k19", 20, 0), ("k18", 19, 0), ("k17", 18, 0),
    ]  # fmt: skip
    assert unlisted == 17


def test_a_scan_of_cold_keys_leaves_the_hot_ones_on_top() -> None:
    sketch = FrequentKeys(100)
    for number in range(20_000):
        for hot in range(3):
            sketch.add(f"hot-{hot}", 1, 0)
        sketch.add(f"cold-{number}", 1, 0)
    assert {each.key for each in sketch.top(3)[0]} == {"hot-0", "hot-1", "hot-2"}
    assert len(sketch) <= 200


def test_a_sketch_shows_what_it_holds() -> None:
    sketch = FrequentKeys(1)
    for key in ("a", "a", "b", "c"):
        sketch.add(key, 1, 0)
    assert repr(sketch) == "<FrequentKeys 1, floor 1>"
