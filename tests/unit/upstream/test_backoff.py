"""`mirror.upstream.backoff`: how long, and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.upstream.backoff import (
    BACKOFF_LONGEST_S,
    RETRY_AFTER_CAP_S,
    GiveUp,
    RetryIn,
    next_step,
)


@pytest.mark.parametrize(
    ("failures", "attempts", "retry_after_s", "jitter", "expected"),
    [
        pytest.param(1, 3, 0.0, 0.0, RetryIn(seconds=0.1), id="first"),
        pytest.param(2, 3, 0.0, 0.0, RetryIn(seconds=0.2), id="doubles"),
        pytest.param(2, 3, 0.0, 0.5, RetryIn(seconds=0.2 * 0.75), id="jittered-down"),
        pytest.param(3, 3, 0.0, 0.0, GiveUp(retry_after_s=0.0), id="used-up"),
        pytest.param(1, 1, 2.0, 0.0, GiveUp(retry_after_s=2.0), id="used-up-with-a-wish"),
        pytest.param(1, 3, 2.0, 0.0, RetryIn(seconds=2.0), id="asked-to-wait"),
        pytest.param(1, 3, 5.5, 0.0, GiveUp(retry_after_s=5.5), id="asked-to-wait-too-long"),
        pytest.param(12, 20, 0.0, 0.0, RetryIn(seconds=2.0), id="bounded"),
    ],
)
def test_the_next_step(
    failures: int,
    attempts: int,
    retry_after_s: float,
    jitter: float,
    expected: RetryIn | GiveUp,
) -> None:
    step = next_step(
        failures=failures, attempts=attempts, retry_after_s=retry_after_s, jitter=jitter
    )
    assert step == expected


@given(
    failures=st.integers(min_value=1, max_value=30),
    retry_after_s=st.floats(min_value=0, max_value=1e9),
    jitter=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_no_wait_exceeds_the_caps(failures: int, retry_after_s: float, jitter: float) -> None:
    step = next_step(failures=failures, attempts=20, retry_after_s=retry_after_s, jitter=jitter)
    if isinstance(step, RetryIn):
        assert 0 < step.seconds <= max(BACKOFF_LONGEST_S, RETRY_AFTER_CAP_S)
