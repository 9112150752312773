"""A byte rate is kept, whatever the sizes of the steps; idleness is not caught up for long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.jobs.pace import BURST_S, Pace


@given(
    st.lists(st.integers(min_value=1, max_value=10_000_000), min_size=1, max_size=50),
    st.floats(min_value=1.0, max_value=1e9),
)
def test_whoever_waits_as_told_keeps_the_rate(steps: list[int], bytes_per_s: float) -> None:
    pace, now_s = Pace(bytes_per_s), 1000.0
    for nbytes in steps:
        now_s += pace.spend(nbytes, now_s)
    least_s = sum(steps) / bytes_per_s - BURST_S
    assert now_s - 1000.0 >= least_s * (1 - 1e-9) - 1e-6
    assert now_s - 1000.0 <= max(0.0, least_s) * (1 + 1e-9) + 1e-6


def test_idle_time_is_not_caught_up() -> None:
    pace = Pace(1000)
    assert pace.spend(1000, 10.0) == pytest.approx(1 - BURST_S)
    assert pace.spend(1000, 9999.0) == pytest.approx(1 - BURST_S)


def test_a_share_of_the_rate_takes_longer() -> None:
    assert Pace(1000).spend(1000, 0.0, share=0.25) == pytest.approx(4 - BURST_S)


def test_rate_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        Pace(0)
