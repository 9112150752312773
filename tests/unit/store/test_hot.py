"""The hot map: bounded, quick, and forgetting what was not used lately."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirror.store.hot import HotMap


def test_a_value_is_found_until_it_is_discarded() -> None:
    hot: HotMap[str, int] = HotMap(100)
    hot.put("a", 1, 10)
    assert (hot.get("a"), hot.get("b"), len(hot), hot.used_bytes) == (1, None, 1, 10)
    hot.discard("a")
    hot.discard("a")
    assert (hot.get("a"), hot.used_bytes) == (None, 0)


def test_what_is_used_stays_and_what_is_not_goes() -> None:
    hot: HotMap[int, int] = HotMap(100)
    for key in range(30):
        hot.put(key, key, 10)
        assert hot.get(0) == 0
    assert 0 in hot
    assert 1 not in hot


def test_what_fits_is_kept_in_whatever_order_it_is_asked_for() -> None:
    hot: HotMap[int, int] = HotMap(100)
    for key in range(10):
        hot.put(key, key, 10)
    for _ in range(5):
        for key in range(10):
            assert hot.get(key) == key


def test_no_more_goes_than_has_to() -> None:
    hot: HotMap[int, int] = HotMap(100)
    for key in range(11):
        hot.put(key, key, 10)
    assert hot.keys() == list(range(1, 11))


def test_a_value_of_more_than_half_of_the_limit_is_not_kept_and_replaces_nothing_else() -> None:
    hot: HotMap[str, int] = HotMap(100)
    hot.put("a", 1, 50)
    hot.put("b", 2, 51)
    hot.put("a", 3, 51)
    assert hot.keys() == []


def test_a_limit_of_nothing_keeps_nothing() -> None:
    hot: HotMap[str, int] = HotMap(0)
    hot.put("a", 1, 1)
    assert len(hot) == 0


def test_keys_may_be_discarded_while_they_are_walked() -> None:
    hot: HotMap[int, int] = HotMap(1000)
    for key in range(10):
        hot.put(key, key, 10)
    for key in list(hot.keys()):
        hot.discard(key)
    assert repr(hot) == "<HotMap 0 entries, 0 bytes>"


def test_clear_empties_both_generations() -> None:
    hot: HotMap[int, int] = HotMap(100)
    for key in range(8):
        hot.put(key, key, 10)
    hot.clear()
    assert (len(hot), hot.used_bytes, hot.get(0), hot.get(7)) == (0, 0, None, None)


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "get", "discard"]), st.integers(0, 9), st.integers(0, 60))
    )
)
def test_the_limit_holds_and_a_found_value_is_the_last_one_put(
    steps: list[tuple[str, int, int]],
) -> None:
    hot: HotMap[int, int] = HotMap(100)
    last: dict[int, int] = {}
    costs: dict[int, int] = {}
    for verb, key, cost in steps:
        if verb == "put":
            hot.put(key, cost, cost)
            last[key], costs[key] = cost, cost
        elif verb == "discard":
            hot.discard(key)
            last.pop(key, None)
        else:
            assert hot.get(key) in (None, last.get(key))
        assert hot.used_bytes <= 100
        assert hot.used_bytes == sum(map(costs.__getitem__, hot.keys()))
        assert len(hot) == len(hot.keys())
