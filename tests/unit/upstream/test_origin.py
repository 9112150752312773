"""`mirror.upstream.origin`: what one URL has shown, and what follows from it."""

from __future__ import annotations

import pytest

from mirror.errors import ErrorType, UpstreamError
from mirror.upstream.breaker import BreakerLimits
from mirror.upstream.origin import Origin, OriginLimits, parse_origin

LIMITS = OriginLimits(breaker=BreakerLimits(failures=3, rest_s=5.0, longest_s=20.0), hold_s=10.0)
REFUSED = UpstreamError("u", "cannot connect", error_type=ErrorType.CONNECTION_REFUSED)
BUSY = UpstreamError("u", "status 503", upstream_status=503)


def fail(origin: Origin, error: UpstreamError, path: str = "/x", now: float = 100.0) -> bool:
    turn = origin.enter(now)
    opened = turn.failed(now, error, path, jitter=0.0)
    turn.left()
    return opened


def test_an_origin_that_gave_up_silently_is_asked_once_until_it_answers() -> None:
    origin = Origin("http://a", LIMITS)
    assert not origin.is_asked_once(0.0)
    origin.demote(100.0, silent=True)
    assert origin.is_asked_once(10_000.0)
    origin.answered(10_000.0)
    assert not origin.is_asked_once(10_000.0)
    assert repr(origin) == "<Origin http://a>"


def test_an_origin_that_wants_quiet_is_left_alone_until_then() -> None:
    origin = Origin("http://a", LIMITS)
    origin.close_for(100.0, 5)
    assert (origin.closed_for_s(102.0), origin.closed_for_s(105.0)) == (3.0, 0.0)
    assert [origin.admits(now) for now in (100.0, 104.9, 105.0)] == [False, False, True]
    assert origin.is_left_alone(104.9)


def test_a_host_that_is_away_opens_the_circuit_whatever_was_asked() -> None:
    origin = Origin("http://a", LIMITS)
    assert [fail(origin, REFUSED) for _ in range(3)] == [False, False, True]
    assert not origin.admits(104.0)
    assert origin.is_asked_once(105.0), "a probe is one request"


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(BUSY, id="status"),
        pytest.param(
            UpstreamError("u", "no answer", error_type=ErrorType.CONNECTION_READ_TIMEOUT),
            id="silence",
        ),
        pytest.param(
            UpstreamError("u", "broke", error_type=ErrorType.CONNECTION_TERMINATED), id="drop"
        ),
    ],
)
def test_trouble_with_one_object_says_nothing_of_others(error: UpstreamError) -> None:
    origin = Origin("http://a", LIMITS)
    assert not any(fail(origin, error) for _ in range(20))
    assert [fail(origin, error, path) for path in ("/y", "/z")] == [False, True]


def test_what_will_not_change_by_asking_again_is_no_failure_of_the_host() -> None:
    origin = Origin("http://a", LIMITS)
    refusal = UpstreamError("u", "status 400", upstream_status=400, retryable=False)
    assert not any(fail(origin, refusal, f"/{n}") for n in range(20))


def test_a_request_that_was_left_says_nothing_and_gives_its_turns_back() -> None:
    origin = Origin("http://a", LIMITS)
    for _ in range(3):
        fail(origin, REFUSED)
    origin.demote(100.0)
    turn = origin.enter(105.0)
    assert not origin.admits(105.0)
    assert not origin.preference.is_in_place(105.0)
    turn.left()
    assert origin.admits(105.0)
    assert origin.preference.is_in_place(105.0)


def test_health_of_an_origin_keeps_the_last_words_after_it_recovered() -> None:
    origin = Origin("http://a", LIMITS)
    well = origin.health(100.0)
    assert (well.url, well.is_failing, well.rests_for_s) == ("http://a", False, 0.0)
    assert (well.last_error, well.last_error_at) == ("", None)
    assert (well.circuit, well.is_preferred) == ("closed", True)
    origin.demote(100.0)
    origin.note_error("status 503", 2_000_000_000.0)
    ill = origin.health(104.0)
    assert (ill.is_failing, ill.is_left_alone, ill.rests_for_s) == (True, False, 1.0)
    assert origin.health(200.0).is_failing, "resting is not recovering"
    origin.close_for(100.0, 60)
    assert (origin.health(110.0).is_left_alone, origin.health(110.0).rests_for_s) == (True, 50.0)
    origin.answered(200.0)
    recovered = origin.health(200.0)
    assert (recovered.is_failing, recovered.rests_for_s) == (False, 0.0)
    assert (recovered.last_error, recovered.last_error_at) == ("status 503", 2_000_000_000.0)
    assert not recovered.is_preferred, "it has yet to prove itself"


def test_health_tells_the_circuit() -> None:
    origin = Origin("http://a", LIMITS)
    for _ in range(3):
        fail(origin, REFUSED)
    open_, half_open = origin.health(101.0), origin.health(105.0)
    assert (open_.circuit, open_.rests_for_s) == ("open", 4.0)
    assert (half_open.circuit, half_open.rests_for_s) == ("half-open", 0.0)


def test_an_origin_keeps_its_prefix_without_the_slash() -> None:
    origin = parse_origin("https://host/prefix/", "k", LIMITS)
    assert origin.base == "https://host/prefix"
    assert origin.host == "host"
