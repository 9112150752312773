"""A client is waited for as long as it takes what it is owed, and no longer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirror.serve.pace import Pace

INTERVAL_S = 60.0
LEAST_BYTES = 61_440


def test_client_that_takes_nothing_is_too_slow_after_one_interval() -> None:
    pace = Pace(INTERVAL_S, LEAST_BYTES, 1000)
    assert pace.wait(10.0) == 70.0
    assert pace.renew(70.0, 1000) is None


def test_client_at_the_least_rate_is_waited_for_again_and_again() -> None:
    pace = Pace(INTERVAL_S, LEAST_BYTES, 0)
    due_s = pace.wait(0.0)
    for round_ in range(1, 100):
        renewed = pace.renew(due_s, round_ * LEAST_BYTES)
        assert renewed == due_s + INTERVAL_S
        due_s = renewed


def test_one_byte_less_is_too_slow() -> None:
    pace = Pace(INTERVAL_S, LEAST_BYTES, 0)
    due_s = pace.renew(pace.wait(0.0), LEAST_BYTES)
    assert due_s is not None
    assert pace.renew(due_s, 2 * LEAST_BYTES - 1) is None


def test_what_was_taken_before_buys_no_second_interval() -> None:
    pace = Pace(INTERVAL_S, LEAST_BYTES, 0)
    due_s = pace.renew(pace.wait(0.0), 1 << 30)
    assert due_s == 120.0
    assert pace.renew(due_s, 1 << 30) is None


def test_time_in_which_nothing_is_owed_does_not_count() -> None:
    pace = Pace(INTERVAL_S, LEAST_BYTES, 0)
    assert pace.wait(0.0) == 60.0
    pace.go_on(20.0)
    assert pace.wait(10_000.0) == 10_040.0


def test_waiting_twice_is_waiting_once() -> None:
    pace = Pace(INTERVAL_S, LEAST_BYTES, 0)
    assert pace.wait(0.0) == pace.wait(30.0) == 60.0
    pace.go_on(30.0)
    pace.go_on(50.0)
    assert pace.wait(50.0) == 80.0


@given(st.lists(st.tuples(st.floats(0.1, 30), st.floats(0, 5), st.integers(0, 900)), min_size=1))
def test_client_far_below_the_rate_is_cut_within_two_intervals_of_waiting(
    stretches: list[tuple[float, float, int]],
) -> None:
    """However it spreads the few bytes that it takes: `waited, pause of ours, bytes taken`."""
    pace = Pace(INTERVAL_S, LEAST_BYTES, 0)
    now_s, taken_bytes, waited_s = 0.0, 0, 0.0
    for wait_s, pause_s, size_bytes in stretches * 40:
        due_s = pace.wait(now_s)
        taken_bytes += size_bytes if wait_s > 1 else 0
        if now_s + wait_s >= due_s:
            waited_s += due_s - now_s
            if pace.renew(due_s, taken_bytes) is None:
                break
            wait_s -= due_s - now_s
            now_s = due_s
        now_s += wait_s
        waited_s += wait_s
        pace.go_on(now_s)
        now_s += pause_s
    assert waited_s <= 2 * INTERVAL_S
