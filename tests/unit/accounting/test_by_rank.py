"""The order is that of ranks, and of their turns."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.by_rank import ByRank


@dataclass(slots=True)
class _Blob:
    name: int
    rank_ms: int
    turn: int = 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=60))
def test_it_is_a_list_sorted_by_rank_and_turn(steps: list[tuple[int, int]]) -> None:
    """Each step takes a blob out if it is in, else puts it in with a rank."""
    order: ByRank[_Blob] = ByRank()
    model: list[_Blob] = []
    known = [_Blob(name, 0) for name in range(10)]
    for name, rank_ms in steps:
        blob = known[name]
        if blob in model:
            order.take(blob)
            model.remove(blob)
        else:
            blob.rank_ms = rank_ms
            order.put(blob)
            model.append(blob)
        assert list(order) == sorted(model, key=lambda each: each.rank_ms)
        assert len(order) == len(model)
