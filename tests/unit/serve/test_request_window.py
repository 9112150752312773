"""`mirror.serve.request_window`: the rate holds, and waiting as long as told is enough."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.serve.request_window import WINDOW_MS, Counted, has_room, used, wait_s, window_of


@pytest.mark.parametrize(
    ("counted", "number", "moved"),
    [
        pytest.param(Counted(7, 3, 2), 7, Counted(7, 3, 2), id="same"),
        pytest.param(Counted(7, 3, 2), 8, Counted(8, 0, 3), id="next"),
        pytest.param(Counted(7, 3, 2), 9, Counted(9, 0, 0), id="long-ago"),
        pytest.param(Counted(7, 3, 2), 6, Counted(6, 5, 0), id="of-a-clock-ahead"),
        pytest.param(Counted(7, 3, 2), 5, Counted(5, 0, 0), id="of-another-time"),
    ],
)
def test_requests_count_in_their_window_and_the_next(
    counted: Counted, number: int, moved: Counted
) -> None:
    assert counted.at(number) == moved


def test_of_the_window_before_as_much_counts_as_is_within_reach() -> None:
    assert used(Counted(1, 2, 8), WINDOW_MS + WINDOW_MS // 4) == 2 + 8 * 0.75


def test_sums_are_of_the_same_window() -> None:
    assert Counted(8, 1, 1).plus(Counted(7, 5, 9)) == Counted(8, 1, 6)


class Client:
    """Asks and is told, as `client_limits` counts it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counted = Counted(0, 0, 0)

    def asks(self, now_ms: int) -> bool:
        counted = self.counted.at(window_of(now_ms))
        if not has_room(counted, now_ms, self.limit):
            return False
        self.counted = Counted(counted.number, counted.now + 1, counted.before)
        return True


@given(
    limit=st.integers(1, 40),
    gaps_ms=st.lists(st.integers(0, 4_000), min_size=1, max_size=200),
)
def test_no_window_has_more_than_twice_the_limit_and_no_minute_more_than_one_burst(
    limit: int, gaps_ms: list[int]
) -> None:
    client, now_ms = Client(limit), 5 * WINDOW_MS
    admitted: list[int] = []
    for gap_ms in gaps_ms:
        now_ms += gap_ms
        if client.asks(now_ms):
            admitted.append(now_ms)
    for reach in (1, 6):
        recent: deque[int] = deque()
        for at_ms in admitted:
            recent.append(at_ms)
            while recent[0] <= at_ms - reach * WINDOW_MS:
                recent.popleft()
            assert len(recent) <= (reach + 1) * limit


@given(
    limit=st.integers(1, 40),
    now=st.integers(0, 60),
    before=st.integers(0, 60),
    at_ms=st.integers(0, WINDOW_MS - 1),
)
def test_after_the_time_that_is_told_there_is_room(
    limit: int, now: int, before: int, at_ms: int
) -> None:
    now_ms = 3 * WINDOW_MS + at_ms
    counted = Counted(3, now, before)
    if has_room(counted, now_ms, limit):
        return
    later_ms = now_ms + wait_s(counted, now_ms, limit) * 1000
    assert has_room(counted.at(window_of(later_ms)), later_ms, limit)
    # And it is the least: a second and a bit earlier there is none.
    earlier_ms = later_ms - 1001
    if earlier_ms >= now_ms:
        assert not has_room(counted.at(window_of(earlier_ms)), earlier_ms, limit)


def test_client_that_stays_below_its_rate_is_never_refused() -> None:
    client = Client(11)
    assert all(client.asks(at_ms) for at_ms in range(0, 20 * WINDOW_MS, WINDOW_MS // 10))
