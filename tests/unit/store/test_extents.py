"""`mirror.store.extents` against a plain set of offsets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.store.extents import Extents, Runs

LENGTH = 40
RUN = st.tuples(st.integers(0, LENGTH), st.integers(0, LENGTH))


def runs_of(offsets: set[int]) -> Runs:
    starts = sorted(offset for offset in offsets if offset - 1 not in offsets)
    ends = sorted(offset + 1 for offset in offsets if offset + 1 not in offsets)
    return tuple(zip(starts, ends, strict=True))


@given(runs=st.lists(RUN, max_size=12), cut=st.integers(0, LENGTH), at=st.integers(0, LENGTH))
def test_runs_say_what_a_set_of_offsets_says(
    runs: list[tuple[int, int]], cut: int, at: int
) -> None:
    extents, offsets = Extents(), set[int]()
    for start, end in runs:
        extents.add(start, end)
        offsets.update(range(start, end))
        assert extents.runs == runs_of(offsets)
    extents.drop_before(cut)
    offsets = {offset for offset in offsets if offset >= cut}
    assert extents.runs == runs_of(offsets)
    assert extents.total_bytes == len(offsets)
    assert Extents(extents.runs).runs == extents.runs
    end = at
    while end in offsets:
        end += 1
    assert extents.end_at(at) == end
    later = [start for start, _ in runs_of(offsets) if start >= at]
    assert extents.next_start(at) == (later[0] if later else -1)


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        pytest.param((), "<Extents none>", id="empty"),
        pytest.param(((0, 5), (7, 9)), "<Extents 0-5 7-9>", id="two"),
        pytest.param(((5, 5),), "<Extents none>", id="an-empty-run-is-none"),
    ],
)
def test_repr_names_the_runs(runs: Runs, words: str) -> None:
    assert repr(Extents(runs)) == words
