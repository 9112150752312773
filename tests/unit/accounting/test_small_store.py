"""One simulated store: its sums of bytes, its weights, its bounds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import count
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.sampling import EVEN_BYTES, digest_of, limit_bytes
from mirror.accounting.small_store import (
    ONE_USE_MS,
    Ask,
    SmallStore,
    StoreModel,
    StoreState,
)
from mirror.accounting.uses import Use
from mirror.store import eviction
from mirror.store.budget import footprint
from mirror.store.eviction import LeastRecentlyUsed
from mirror.store.ranks_in_memory import RanksInMemory, Victim, ranks_in_force

_V = TypeVar("_V", bound=Victim)
by_recency = partial(RanksInMemory, LeastRecentlyUsed())
MODEL = StoreModel(policy=by_recency, footprint=footprint, capacity=16)
TIMES_MS = count(1_000_000, 10_000)  # every ask comes after all others, and is a use of its own


def use_of(key: str, length: int = 1000, requests: int = 1) -> Use:
    return Use(key, requests, requests * length, 0, length)


def ask(store: SmallStore, *uses: Use) -> None:
    for use in uses:
        digest, length = digest_of(use.key), use.length_bytes
        limit = limit_bytes(digest, length)
        store.use(
            [Ask(digest, limit, length, footprint(length), use.requests, use.content_bytes)],
            next(TIMES_MS),
        )


def test_the_coldest_goes_first() -> None:
    store = SmallStore(MODEL, StoreState(size_bytes=2 * footprint(1000)))
    ask(store, *map(use_of, ("a", "b", "a", "c", "a", "b")))
    assert store.sums.hits == 2  # both of them "a"


def test_a_blob_larger_than_the_store_evicts_nothing() -> None:
    store = SmallStore(MODEL, StoreState(size_bytes=footprint(1000)))
    ask(store, use_of("a"), use_of("huge", length=1 << 30), use_of("a"))
    assert store.sums.hits == 1


def test_another_length_is_another_blob() -> None:
    store = SmallStore(MODEL, StoreState(size_bytes=1 << 20))
    ask(store, use_of("a"), use_of("a", length=2000), use_of("a", length=2000))
    assert store.sums.hits == 1
    assert store.used_bytes == footprint(2000)


def test_only_the_first_of_many_requests_misses() -> None:
    store = SmallStore(MODEL, StoreState(size_bytes=1 << 20))
    ask(store, use_of("a", requests=5))
    assert (store.sums.hits, store.sums.hit_bytes) == (4, 4000)


def test_many_requests_of_what_cannot_be_stored_all_miss() -> None:
    store = SmallStore(MODEL, StoreState(size_bytes=1))
    ask(store, use_of("a", requests=5))
    assert (store.sums.requests, store.sums.hits) == (5, 0)


class _Refusing(RanksInMemory):
    def __init__(self) -> None:
        super().__init__(LeastRecentlyUsed())

    def choose_victims(self, coldest_first: Iterable[_V], needed_bytes: int) -> list[_V]:
        return []


def test_a_policy_that_names_no_victim_keeps_what_is_there() -> None:
    model = StoreModel(policy=_Refusing, footprint=footprint, capacity=16)
    store = SmallStore(model, StoreState(size_bytes=footprint(1000)))
    ask(store, *map(use_of, ("a", "b", "b", "a")))
    assert store.sums.hits == 1


def test_uses_that_are_one_for_the_store_are_one_here() -> None:
    assert ONE_USE_MS == eviction.ONE_USE_MS


def test_a_store_by_the_policy_in_force_keeps_what_others_use_through_a_scan() -> None:
    model = StoreModel(policy=ranks_in_force, footprint=footprint, capacity=1000)
    store = SmallStore(model, StoreState(size_bytes=20 * footprint(1000)))
    often = [use_of(f"often-{n}") for n in range(10)]
    for _ in range(60):
        ask(store, *often)
    ask(store, *(use_of(f"scanned-{n}") for n in range(200)))  # in a third of that time
    before = store.sums.hits
    ask(store, *often)
    assert store.sums.hits == before + 10


def test_a_higher_scale_lets_go_of_what_it_does_not_sample_and_weighs_the_rest() -> None:
    store = SmallStore(
        StoreModel(policy=by_recency, footprint=footprint, capacity=1000),
        StoreState(size_bytes=1 << 30),
    )
    ask(store, *(use_of(f"k{n}", length=0) for n in range(400)))
    store.raise_scale(4 * EVEN_BYTES)
    left = {blob.digest for blob in store.state().blobs}
    expected = {
        digest for n in range(400) if limit_bytes(digest := digest_of(f"k{n}"), 0) >= 4 * EVEN_BYTES
    }
    assert left == expected
    assert store.used_bytes == len(expected) * 4 * footprint(0)


def _coarse(capacity: int = 1000) -> SmallStore:
    """Return a full store of a hundred small blobs' room, at four times the finest scale."""
    model = StoreModel(policy=by_recency, footprint=footprint, capacity=capacity)
    store = SmallStore(model, StoreState(size_bytes=100 * footprint(0), scale_bytes=4 * EVEN_BYTES))
    ask(store, *(use_of(f"k{n}", length=0) for n in range(100)))
    return store


def test_a_store_that_holds_few_for_its_capacity_is_coarse() -> None:
    store = _coarse()
    told = [_coarse(capacity=4 * len(store)).is_coarse, store.is_coarse]
    for step in (store.lower_scale, store.count_all, store.lower_scale, store.count_all):
        step()
        told.append(store.is_coarse)
    # Not while it is under way, and not when it cannot be finer.
    assert told == [False, True, False, True, False, False]
    assert store.scale_bytes == 0


def test_what_a_lower_scale_adds_takes_its_room_and_counts_only_when_all_count() -> None:
    store = _coarse()
    everything = [use_of(f"k{n}", length=0) for n in range(100)]
    ask(store, *everything)
    few, before = len(store), store.sums.requests
    assert store.sums.hits == before / 2  # the second time all were there
    store.lower_scale()
    store.lower_scale()
    assert store.used_bytes == few * footprint(0)
    ask(store, *everything)
    assert len(store) == 100
    assert store.used_bytes == store.size_bytes
    assert store.sums.requests == before * 3 / 2  # of the same few as before, by their weight
    assert store.sums.hits == before  # no miss is counted of what may have been there
    again = SmallStore(StoreModel(policy=by_recency, footprint=footprint, capacity=1000),
                       store.state())  # fmt: skip
    assert again.state() == store.state()
    store.count_all()
    ask(store, *everything)
    assert store.sums.requests == before * 3 / 2 + 100
    assert store.sums.hits == before + 100


def test_a_crowd_while_a_scale_is_lowered_brings_back_what_was() -> None:
    store = _coarse()
    before = store.state()
    store.lower_scale()
    ask(store, *(use_of(f"k{n}", length=0) for n in range(100)))
    store.raise_scale(before.scale_bytes)
    assert {blob.digest for blob in store.state().blobs} == {blob.digest for blob in before.blobs}
    assert (store.scale_bytes, store.counted_scale_bytes) == (before.scale_bytes,) * 2
    assert store.used_bytes == 4 * len(store) * footprint(0)


operations = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from((0, 5_000, 300_000, 3_000_000)),
        st.integers(1, 4),
        st.sampled_from(("", "", "", "raise", "lower", "count")),
    ),
    max_size=200,
)


@given(operations, st.sampled_from((1, 20_000, 2_000_000, 1 << 30)))
def test_it_never_holds_more_than_its_size_and_its_capacity(
    steps: list[tuple[int, int, int, str]], size: int
) -> None:
    store = SmallStore(MODEL, StoreState(size_bytes=size))
    for number, length, requests, step in steps:
        ask(store, use_of(f"k{number}", length, requests))
        if step == "raise":
            store.raise_scale(store.scale_bytes + EVEN_BYTES)
        elif step == "lower":
            store.lower_scale()
        elif step == "count":
            store.count_all()
        again = SmallStore(MODEL, store.state())
        assert store.used_bytes <= size
        assert len(store) <= MODEL.capacity
        assert 0 <= store.sums.hits <= store.sums.requests
        assert all(
            limit_bytes(blob.digest, blob.length_bytes) >= store.scale_bytes
            for blob in store.state().blobs
        )
        assert again.state() == store.state()
        assert again.used_bytes == store.used_bytes
