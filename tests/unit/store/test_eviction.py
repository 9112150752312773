"""The policy decides on values alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.store.eviction import (
    HALF_LIFE,
    ONE_USE_MS,
    PROBATION_MAX,
    PROBATION_START,
    Arrival,
    BlobUse,
    DecayingUses,
    EvictionPolicy,
    Ghost,
    LeastRecentlyUsed,
    Placed,
    Standing,
    latest_rank_ms,
    policy_in_force,
)

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
SPAN = Standing(floor_ms=NOW_MS - 10 * DAY_MS)
IN_FORCE = DecayingUses()


def _blobs(lengths: list[int]) -> list[BlobUse]:
    return [
        BlobUse(digest=bytes([n]) * 32, freed_bytes=length, rank_ms=n)
        for n, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("policy", [LeastRecentlyUsed(), IN_FORCE], ids=["lru", "in-force"])
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
def test_the_coldest_go_until_it_suffices(
    policy: EvictionPolicy, lengths: list[int], needed: int, count: int
) -> None:
    blobs = _blobs(lengths)
    assert policy.choose_victims(blobs, needed) == blobs[:count]


@given(st.lists(st.integers(0, 100), max_size=20), st.integers(0, 2000))
def test_victims_suffice_and_none_could_stay(lengths: list[int], needed: int) -> None:
    victims = policy_in_force().choose_victims(_blobs(lengths), needed)
    freed = sum(victim.freed_bytes for victim in victims)
    if victims:
        assert freed >= needed > freed - victims[-1].freed_bytes
    else:
        assert needed == 0 or sum(lengths) < needed


def test_no_more_candidates_are_read_than_needed() -> None:
    candidates = iter(_blobs([5] * 10))
    policy_in_force().choose_victims(candidates, 10)
    assert len(list(candidates)) == 7


def _place(standing: Standing, ghost: Ghost | None = None, part: float = 0.01) -> Placed:
    return IN_FORCE.place(standing, Arrival(now_ms=NOW_MS, ghost=ghost, store_part=part))


def _ghost(rank_days: float, used_days: float, *, is_on_probation: bool) -> Ghost:
    return Ghost(
        rank_ms=NOW_MS - int(rank_days * DAY_MS),
        used_at_ms=NOW_MS - int(used_days * DAY_MS),
        is_on_probation=is_on_probation,
    )


def test_an_arrival_is_on_probation_for_a_part_of_the_span() -> None:
    assert _place(SPAN).rank_ms == NOW_MS - int(PROBATION_START * 10 * DAY_MS)
    assert _place(SPAN).standing == SPAN


def test_a_store_that_never_evicted_begins_its_span_with_its_first_blob() -> None:
    placed = _place(Standing())
    assert placed.standing.floor_ms == NOW_MS - 1
    assert NOW_MS - 1 <= placed.rank_ms <= NOW_MS


def test_what_a_scan_brings_goes_before_what_was_used_in_half_the_span() -> None:
    scanned_ms = _place(SPAN).rank_ms
    used_once_ago_ms = IN_FORCE.rank_of_use(SPAN, NOW_MS - 6 * DAY_MS, NOW_MS - 4 * DAY_MS)
    assert scanned_ms < used_once_ago_ms


def test_as_many_uses_as_halved_weigh_the_same() -> None:
    """Two uses at a moment are one use a half-life later."""
    half_ms = round(HALF_LIFE * 10 * DAY_MS)
    assert IN_FORCE.rank_of_use(SPAN, NOW_MS, NOW_MS) == NOW_MS + half_ms


@given(st.integers(0, 4 * NOW_MS), st.integers(0, 3 * NOW_MS), st.integers(-1, 3 * NOW_MS))
def test_a_use_ranks_no_lower_than_itself_and_what_was(rank: int, now: int, floor: int) -> None:
    """Whatever clocks do: a rank or a floor may lie in the future."""
    ranked = IN_FORCE.rank_of_use(Standing(floor_ms=floor), rank, now)
    assert ranked >= max(rank, now)
    assert ranked <= max(rank, now) + HALF_LIFE * max(1, now - floor) + 1


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_what_was_ranked_higher_stays_so_through_the_same_use(
    one_day: int, other_day: int, now_day: int
) -> None:
    one, other = sorted((one_day, other_day))
    standing, now_ms = Standing(floor_ms=0), 20 * DAY_MS + now_day * DAY_MS
    ranked = [IN_FORCE.rank_of_use(standing, day * DAY_MS, now_ms) for day in (one, other)]
    assert ranked == sorted(ranked)


@pytest.mark.parametrize(
    ("ghost", "is_shorter"),
    [
        pytest.param(_ghost(8, 3, is_on_probation=True), True, id="would-have-stayed-without"),
        pytest.param(_ghost(25, 12, is_on_probation=True), False, id="would-have-gone-anyway"),
        pytest.param(_ghost(11, 12, is_on_probation=False), False, id="used-by-several"),
    ],
)
def test_what_comes_back_teaches_how_long_probation_is(ghost: Ghost, is_shorter: bool) -> None:
    before, after = SPAN.probation, _place(SPAN, ghost).standing.probation
    assert (after < before, after > before) == (is_shorter, not is_shorter)


def test_what_comes_back_has_the_weight_that_it_had() -> None:
    ghost = _ghost(1, 1, is_on_probation=False)
    assert _place(SPAN, ghost).rank_ms == IN_FORCE.rank_of_use(
        _place(SPAN, ghost).standing, ghost.rank_ms, NOW_MS
    )
    assert _place(SPAN, ghost).rank_ms > NOW_MS


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 20), st.floats(0, 1)), max_size=50))
def test_probation_stays_a_part_of_the_span(returns: list[tuple[bool, float, float]]) -> None:
    standing = SPAN
    for is_on_probation, days, part in returns:
        ghost = _ghost(days, days, is_on_probation=is_on_probation)
        standing = _place(standing, ghost, part).standing
        assert 0.0 <= standing.probation <= PROBATION_MAX


def test_the_floor_never_sinks() -> None:
    higher = IN_FORCE.after_eviction(SPAN, SPAN.floor_ms + 5)
    assert higher.floor_ms == SPAN.floor_ms + 5
    assert IN_FORCE.after_eviction(higher, SPAN.floor_ms) == higher


def test_by_recency_the_rank_is_the_last_use() -> None:
    policy = LeastRecentlyUsed()
    arrival = Arrival(now_ms=5, ghost=_ghost(1, 1, is_on_probation=True), store_part=1.0)
    assert policy.place(SPAN, arrival) == Placed(rank_ms=5, standing=SPAN)
    assert policy.rank_of_use(SPAN, 3, 7) == 7
    assert policy.after_eviction(SPAN, NOW_MS) == SPAN


def test_uses_as_dense_as_they_count_stay_below_the_latest_rank() -> None:
    standing = Standing(floor_ms=NOW_MS - 3_600_000)  # a half-life of 12 minutes
    rank_ms = now_ms = NOW_MS
    for _ in range(2000):
        rank_ms = IN_FORCE.rank_of_use(standing, rank_ms, now_ms)
        assert rank_ms <= latest_rank_ms(standing, now_ms) + ONE_USE_MS
        now_ms += ONE_USE_MS
    ahead_ms, latest_ms = rank_ms - now_ms, latest_rank_ms(standing, now_ms) - now_ms
    assert ahead_ms > 0.75 * latest_ms  # a bound that is near


def test_latest_rank_of_a_floor_in_the_future_is_the_present() -> None:
    assert latest_rank_ms(Standing(floor_ms=NOW_MS + DAY_MS), NOW_MS) - NOW_MS <= 1
