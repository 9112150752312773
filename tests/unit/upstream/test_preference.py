"""`mirror.upstream.preference`: a URL that recovered proves itself before all go back to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirror.upstream.preference import Preference


def failed(at: float = 100.0) -> Preference:
    preference = Preference(rest_s=5.0, hold_s=10.0)
    preference.failed(at)
    return preference


def test_it_begins_preferred_and_a_success_changes_nothing() -> None:
    preference = Preference(rest_s=5.0, hold_s=10.0)
    assert not preference.enter(1.0), "nothing is on trial"
    preference.succeeded(1.0)
    assert preference.is_preferred
    assert preference.is_in_place(1.0)
    assert preference.rests_for_s(1.0) == 0.0
    assert repr(preference) == "<Preference preferred>"


def test_after_a_failure_it_is_asked_last_for_its_rest() -> None:
    preference = failed()
    assert (preference.is_preferred, preference.is_in_place(104.9)) == (False, False)
    assert preference.rests_for_s(102.0) == 3.0
    assert not preference.enter(104.9), "who is asked last because all others fail is no trial"
    assert repr(preference) == "<Preference asked last or on trial>"


def test_on_trial_one_request_at_a_time_goes_to_it() -> None:
    preference = failed()
    assert preference.is_in_place(105.0)
    assert preference.enter(105.0)
    assert not preference.is_in_place(105.0)
    assert not preference.enter(105.0)
    preference.left()
    assert preference.is_in_place(105.0)


def test_it_is_preferred_again_after_the_hold_and_not_before() -> None:
    preference = failed()
    for now in (106.0, 110.0, 115.9):
        preference.succeeded(now)
        assert not preference.is_preferred
    preference.succeeded(116.0)
    assert preference.is_preferred


def test_a_failure_on_trial_begins_all_over() -> None:
    preference = failed()
    preference.succeeded(106.0)
    preference.failed(115.0)
    assert not preference.is_in_place(119.9)
    preference.succeeded(120.0)
    assert not preference.is_preferred
    preference.succeeded(130.0)
    assert preference.is_preferred


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(min_value=0.01, max_value=9.9)), min_size=1, max_size=60
    )
)
def test_a_url_that_fails_at_least_every_hold_is_never_preferred_again(
    steps: list[tuple[bool, float]],
) -> None:
    """Flapping: successes between failures that are less than `hold_s` apart earn nothing."""
    preference, now, failed_at = failed(0.0), 0.0, 0.0
    for is_good, later in steps:
        now += later
        if is_good and now - failed_at < 10.0:
            preference.succeeded(now)
        else:
            preference.failed(now)
            failed_at = now
        assert not preference.is_preferred
