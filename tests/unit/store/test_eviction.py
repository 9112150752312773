"""The policy decides on values alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.store.eviction import BlobUse, LeastRecentlyUsed


def _blobs(lengths: list[int]) -> list[BlobUse]:
    return [
        BlobUse(digest=bytes([n]) * 32, freed_bytes=length, used_at_ms=n)
        for n, length in enumerate(lengths)
    ]


@pytest.mark.parametrize(
    ("lengths", "needed", "count"),
    [
        pytest.param([5, 5, 5], 5, 1, id="exactly-one"),
        pytest.param([5, 5, 5], 6, 2, id="a-byte-more"),
        pytest.param([5, 5, 5], 15, 3, id="all"),
        pytest.param([5, 5, 5], 16, 0, id="not-enough-takes-nothing"),
        pytest.param([], 1, 0, id="nothing-there"),
        pytest.param([5], 0, 0, id="nothing-needed"),
        pytest.param([0, 0, 5], 1, 3, id="empty-blobs-go-along"),
    ],
)
def test_the_coldest_go_until_it_suffices(lengths: list[int], needed: int, count: int) -> None:
    blobs = _blobs(lengths)
    assert LeastRecentlyUsed().choose_victims(blobs, needed) == blobs[:count]


@given(st.lists(st.integers(0, 100), max_size=20), st.integers(0, 2000))
def test_victims_suffice_and_none_could_stay(lengths: list[int], needed: int) -> None:
    victims = LeastRecentlyUsed().choose_victims(_blobs(lengths), needed)
    freed = sum(victim.freed_bytes for victim in victims)
    if victims:
        assert freed >= needed > freed - victims[-1].freed_bytes
    else:
        assert needed == 0 or sum(lengths) < needed


def test_no_more_candidates_are_read_than_needed() -> None:
    candidates = iter(_blobs([5] * 10))
    LeastRecentlyUsed().choose_victims(candidates, 10)
    assert len(list(candidates)) == 7
