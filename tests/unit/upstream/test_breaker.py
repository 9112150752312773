"""`mirror.upstream.breaker`: closed, open, half-open, and nothing in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.upstream.breaker import Breaker, BreakerLimits, Circuit, Failure

LIMITS = BreakerLimits(failures=3, rest_s=5.0, longest_s=20.0)
HOST = Failure()


def broken(breaker: Breaker, *failures: Failure, now: float = 100.0, jitter: float = 0.0) -> bool:
    """Let requests fail; return whether the last one opened the circuit."""
    opened = False
    for failure in failures or (HOST,) * LIMITS.failures:
        is_probe = breaker.enter(now)
        opened = breaker.failed(now, failure, is_probe=is_probe, jitter=jitter)
        breaker.left()
    return opened


def test_it_opens_with_the_last_of_the_failures_in_a_row() -> None:
    breaker = Breaker(LIMITS)
    assert not broken(breaker, HOST, HOST)
    assert (breaker.circuit(100.0), breaker.admits(100.0)) == (Circuit.CLOSED, True)
    assert broken(breaker, HOST)
    assert (breaker.circuit(100.0), breaker.admits(100.0)) == (Circuit.OPEN, False)
    assert breaker.closed_for_s(102.0) == 3.0


def test_a_success_between_breaks_the_row() -> None:
    breaker = Breaker(LIMITS)
    broken(breaker, HOST, HOST)
    assert not breaker.succeeded(), "it was not open"
    assert not broken(breaker, HOST, HOST)


def test_one_broken_object_never_opens_it() -> None:
    breaker = Breaker(LIMITS)
    assert not broken(breaker, *[Failure(subject="/bad")] * 50)
    assert not broken(breaker, Failure(subject="/worse"))
    assert broken(breaker, Failure(subject="/worst")), "three objects in a row do"


def test_half_open_lets_one_request_pass_at_a_time() -> None:
    breaker = Breaker(LIMITS)
    broken(breaker)
    assert not breaker.admits(104.9)
    assert (breaker.circuit(105.0), breaker.admits(105.0)) == (Circuit.HALF_OPEN, True)
    assert breaker.enter(105.0)
    assert not breaker.admits(105.0)
    assert breaker.closed_for_s(105.0) == 0.0
    with pytest.raises(ValueError, match="one probe"):
        breaker.enter(105.0)


def test_a_probe_without_a_verdict_gives_its_turn_back() -> None:
    breaker = Breaker(LIMITS)
    broken(breaker)
    assert breaker.enter(105.0)
    breaker.left()
    assert breaker.admits(105.0)


def test_a_probe_that_is_answered_closes_it() -> None:
    breaker = Breaker(LIMITS)
    broken(breaker)
    assert breaker.enter(105.0)
    assert breaker.succeeded()
    breaker.left()
    assert breaker.circuit(105.0) is Circuit.CLOSED
    assert not broken(breaker, HOST, HOST, now=105.0), "it counts from nothing again"


def test_each_probe_that_fails_doubles_the_rest_up_to_the_longest() -> None:
    breaker, now, rests = Breaker(LIMITS), 100.0, []
    broken(breaker)
    for _ in range(5):
        rests.append(breaker.closed_for_s(now))
        now += rests[-1]
        assert broken(breaker, HOST, now=now)
    assert rests == [5.0, 10.0, 20.0, 20.0, 20.0]
    assert breaker.openings == 6


def test_late_failures_of_requests_from_before_change_nothing() -> None:
    breaker = Breaker(LIMITS)
    broken(breaker)
    for _ in range(10):
        assert not breaker.failed(101.0, HOST, is_probe=False, jitter=0.0)
    assert (breaker.closed_for_s(101.0), breaker.openings) == (4.0, 1)


def test_a_late_answer_closes_it() -> None:
    breaker = Breaker(LIMITS)
    broken(breaker)
    assert breaker.succeeded()
    assert breaker.admits(100.1)


@pytest.mark.parametrize(
    ("retry_after_s", "jitter", "rest_s"),
    [
        pytest.param(0.0, 0.5, 3.75, id="jittered-down"),
        pytest.param(3.0, 0.0, 5.0, id="shorter-wish"),
        pytest.param(30.0, 0.9, 30.0, id="longer-wish"),
    ],
)
def test_a_rest_is_jittered_and_no_shorter_than_upstreams_wish(
    retry_after_s: float, jitter: float, rest_s: float
) -> None:
    breaker = Breaker(LIMITS)
    broken(breaker, HOST, HOST, Failure(retry_after_s=retry_after_s), jitter=jitter)
    assert breaker.closed_for_s(100.0) == pytest.approx(rest_s)
    assert repr(breaker) == "<Breaker 3 failures, 1 openings>"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "ok", "fail", "leave"]),
            st.floats(min_value=0, max_value=8),
            st.sampled_from(["", "/a", "/b"]),
            st.floats(min_value=0, max_value=1, exclude_max=True),
        ),
        max_size=80,
    )
)
def test_never_two_probes_and_never_longer_than_the_longest_rest(
    steps: list[tuple[str, float, str, float]],
) -> None:
    breaker, now = Breaker(LIMITS), 0.0
    under_way: list[bool] = []
    for act, later, subject, jitter in steps:
        now += later
        if act == "ask" and breaker.admits(now):
            under_way.append(breaker.enter(now))
            assert sum(under_way) <= 1
        elif act != "ask" and under_way:
            is_probe = under_way.pop()
            if act == "ok":
                breaker.succeeded()
                assert breaker.circuit(now) is Circuit.CLOSED
            elif act == "fail":
                failure = Failure(subject=subject)
                breaker.failed(now, failure, is_probe=is_probe, jitter=jitter)
            if is_probe:
                breaker.left()
        assert 0 <= breaker.closed_for_s(now) <= LIMITS.longest_s
        if not under_way:
            assert breaker.admits(now + breaker.closed_for_s(now)), "nobody is shut out for ever"
