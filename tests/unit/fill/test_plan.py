"""`mirror.fill.plan`: the decision table, line by line."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mirror.fill.messages import Purpose
from mirror.fill.plan import (
    BLOB_CHANGED,
    BLOB_GONE,
    NOTHING_STORED,
    OTHER_GENERATION,
    STALE,
    STALE_ABSENCE,
    UNCONFIRMED,
    Absent,
    AbsentReason,
    AskKeeper,
    CratePatience,
    Decision,
    FreshnessRules,
    Serve,
    decide,
    decide_crate,
    pinned,
)
from mirror.http.cache_status import Forward
from mirror.http.request_directives import NO_DIRECTIVES, RequestDirectives
from mirror.store.entry import Attestation, Stored
from tests.unit.fill.fake_keeper import entry

NOW = 5000.0
DIGEST = entry().digest
OTHER = bytes(32)


def stored(*, status: int = 200, fresh_until: float = math.inf) -> Stored:
    attestation = Attestation(inode=1, size=1, ctime_ns=1) if status == 200 else None
    return Stored(
        entry=replace(entry(status=status), fresh_until=fresh_until), attestation=attestation
    )


def test_nothing_stored_is_fetched() -> None:
    assert decide(None, NOW) is NOTHING_STORED
    assert decide(None, NOW, claim=OTHER) is NOTHING_STORED


@pytest.mark.parametrize(
    ("found", "claim", "expected"),
    [
        pytest.param(stored(), b"", Serve(stored=stored(), ttl_s=None), id="for-ever"),
        pytest.param(stored(), DIGEST, Serve(stored=stored(), ttl_s=None), id="true-claim"),
        pytest.param(
            stored(fresh_until=NOW + 57.5),
            b"",
            Serve(stored=stored(fresh_until=NOW + 57.5), ttl_s=57),
            id="fresh",
        ),
        pytest.param(
            stored(),
            OTHER,
            Absent(stored=stored(), reason=AbsentReason.CLAIM, ttl_s=None),
            id="false-claim",
        ),
        pytest.param(
            stored(status=404, fresh_until=NOW + 3),
            b"",
            Absent(
                stored=stored(status=404, fresh_until=NOW + 3),
                reason=AbsentReason.REMEMBERED,
                ttl_s=3,
            ),
            id="fresh-absence",
        ),
        pytest.param(
            stored(status=404, fresh_until=NOW + 3),
            OTHER,
            Absent(
                stored=stored(status=404, fresh_until=NOW + 3),
                reason=AbsentReason.REMEMBERED,
                ttl_s=3,
            ),
            id="fresh-absence-with-claim",
        ),
    ],
)
def test_fresh_stored_responses_are_answered_here(
    found: Stored, claim: bytes, expected: Decision
) -> None:
    assert decide(found, NOW, claim=claim) == expected


@pytest.mark.parametrize("fresh_until", [NOW, NOW - 1, 0.0, -math.inf])
def test_a_stale_response_is_asked_about(fresh_until: float) -> None:
    assert decide(stored(fresh_until=fresh_until), NOW) is STALE


def test_a_claim_is_not_judged_by_a_stale_response() -> None:
    assert decide(stored(fresh_until=NOW), NOW, claim=OTHER) is STALE


def test_a_stale_absence_is_fetched_and_never_kept_for_an_upstream_failure() -> None:
    decision = decide(stored(status=404, fresh_until=NOW), NOW)
    assert decision is STALE_ABSENCE
    assert STALE_ABSENCE.purpose is Purpose.FETCH


@pytest.mark.parametrize(
    ("decision", "purpose", "outcome"),
    [
        pytest.param(NOTHING_STORED, Purpose.FETCH, "fwd=uri-miss", id="nothing"),
        pytest.param(STALE, Purpose.REVALIDATE, "fwd=stale", id="stale"),
        pytest.param(STALE_ABSENCE, Purpose.FETCH, "fwd=stale", id="stale-absence"),
        pytest.param(BLOB_GONE, Purpose.FETCH, "fwd=miss", id="gone"),
        pytest.param(BLOB_CHANGED, Purpose.ATTEST, "fwd=miss", id="changed"),
        pytest.param(UNCONFIRMED, Purpose.REVALIDATE, "fwd=stale", id="unconfirmed"),
        pytest.param(OTHER_GENERATION, Purpose.REVALIDATE, "fwd=miss", id="other-generation"),
    ],
)
def test_the_purpose_and_the_words_of_rfc_9211(
    decision: AskKeeper, purpose: Purpose, outcome: str
) -> None:
    assert (decision.purpose, decision.outcome) == (purpose, outcome)


PATIENCE = CratePatience(check_s=60, wait_s=600)


@pytest.mark.parametrize(
    ("vouched_at", "expected"),
    [
        pytest.param(NOW, Serve(stored=stored(), ttl_s=None), id="just-confirmed"),
        pytest.param(NOW + 99, Serve(stored=stored(), ttl_s=None), id="clock-set-back"),
        pytest.param(NOW - 60, Serve(stored=stored(), ttl_s=None), id="a-minute"),
        pytest.param(NOW - 61, Serve(stored=stored(), ttl_s=None, check=True), id="over-a-minute"),
        pytest.param(NOW - 600, Serve(stored=stored(), ttl_s=None, check=True), id="ten-minutes"),
        pytest.param(NOW - 601, UNCONFIRMED, id="over-ten-minutes"),
        pytest.param(0.0, UNCONFIRMED, id="never"),
    ],
)
def test_a_crate_is_served_checked_or_waits(vouched_at: float, expected: Decision) -> None:
    decision = decide(stored(), NOW)
    assert decide_crate(decision, PATIENCE, vouched_at=vouched_at, now=NOW) == expected


@pytest.mark.parametrize(
    "decision",
    [
        NOTHING_STORED,
        STALE_ABSENCE,
        BLOB_CHANGED,
        decide(stored(), NOW, claim=OTHER),
        decide(stored(status=404, fresh_until=NOW + 3), NOW),
    ],
)
def test_what_is_no_hit_needs_no_check(decision: Decision) -> None:
    assert decide_crate(decision, PATIENCE, vouched_at=0.0, now=NOW) is decision


def test_a_sequence_is_served_fresh_or_not() -> None:
    fresh, old = stored(fresh_until=NOW + 9), stored(fresh_until=NOW - 4)
    assert pinned(fresh, NOW) == Serve(stored=fresh, ttl_s=9)
    assert pinned(old, NOW) == Serve(stored=old, ttl_s=-4)
    absent = stored(status=404, fresh_until=NOW - 4)
    assert pinned(absent, NOW) == Absent(stored=absent, reason=AbsentReason.REMEMBERED, ttl_s=-4)


def test_hits_say_how_long_they_stay_fresh() -> None:
    assert Serve(stored=stored(), ttl_s=None).outcome == "hit"
    assert Serve(stored=stored(), ttl_s=57).outcome == "hit; ttl=57"
    claim = Absent(stored=stored(), reason=AbsentReason.CLAIM, ttl_s=None)
    assert claim.outcome == 'hit; detail="claimed digest differs"'
    remembered = Absent(stored=stored(), reason=AbsentReason.REMEMBERED, ttl_s=9)
    assert remembered.outcome == "hit; ttl=9"


RULES = FreshnessRules(revalidate_s=10, error_s=1000, client_floor_s=5)
LIFETIME_S = 60.0


def aged(age_s: float, *, status: int = 200) -> Stored:
    """Confirmed `age_s` ago, for a minute."""
    found = stored(status=status, fresh_until=NOW - age_s + LIFETIME_S)
    return replace(found, entry=replace(found.entry, confirmed_at=NOW - age_s))


def shape(decision: Decision) -> str:
    """The decision in a word."""
    if isinstance(decision, Serve):
        return "behind" if decision.revalidate else "serve"
    if isinstance(decision, Absent):
        return "absent"
    return f"{decision.forward.value} since {decision.since - NOW:.0f}" if decision.since else "ask"


NO_CACHE = RequestDirectives(no_cache=True)


def wish(
    *, max_age_s: int | None = None, min_fresh_s: int = 0, max_stale_s: float | None = None
) -> RequestDirectives:
    return RequestDirectives(max_age_s=max_age_s, min_fresh_s=min_fresh_s, max_stale_s=max_stale_s)


@pytest.mark.parametrize(
    ("age_s", "directives", "expected"),
    [
        (59, NO_DIRECTIVES, "serve"),
        (60, NO_DIRECTIVES, "behind"),
        (69.9, NO_DIRECTIVES, "behind"),
        (70, NO_DIRECTIVES, "ask"),
        # A client's wish counts from the floor on.
        (4.9, NO_CACHE, "serve"),
        (5, NO_CACHE, "request since 0"),
        (65, NO_CACHE, "stale since 0"),
        (4.9, wish(max_age_s=0), "serve"),
        (5, wish(max_age_s=0), "request since 0"),
        (20, wish(max_age_s=20), "serve"),
        (21, wish(max_age_s=20), "request since -20"),
        (65, wish(max_age_s=100), "stale since -60"),  # within the lifetime; nothing stale
        (30, wish(min_fresh_s=30), "serve"),
        (31, wish(min_fresh_s=30), "request since -30"),
        (31, wish(min_fresh_s=90), "request since 0"),  # more than a lifetime: as fresh as can be
        # What the client tolerates takes the place of our own window.
        (65, wish(max_stale_s=4), "stale since -60"),
        (65, wish(max_stale_s=5), "behind"),
        (900, wish(max_stale_s=math.inf), "behind"),
        (1061, wish(max_stale_s=math.inf), "stale since -60"),  # beyond stale_if_error
        (25, wish(max_age_s=20, max_stale_s=5), "serve"),
        (26, wish(max_age_s=20, max_stale_s=5), "request since -20"),
        (65, RequestDirectives(no_cache=True, max_stale_s=math.inf), "stale since 0"),
        # A clock that was set back: not fresh for all that time, and not stale either.
        (-61, NO_DIRECTIVES, "behind"),
        (-59, NO_DIRECTIVES, "serve"),
        (-61, NO_CACHE, "behind"),
    ],
)
def test_stale_responses_and_clients_wishes(
    age_s: float, directives: RequestDirectives, expected: str
) -> None:
    decision = decide(aged(age_s), NOW, rules=RULES, directives=directives)
    assert shape(decision) == expected


@pytest.mark.parametrize("directives", [NO_CACHE, wish(max_age_s=0), wish(min_fresh_s=10**9)])
def test_what_never_changes_is_not_asked_about_at_a_clients_wish(
    directives: RequestDirectives,
) -> None:
    assert shape(decide(stored(), NOW, rules=RULES, directives=directives)) == "serve"


def test_an_absence_is_never_served_stale_and_may_be_doubted() -> None:
    assert decide(aged(61, status=404), NOW, rules=RULES) is STALE_ABSENCE
    assert shape(decide(aged(10, status=404), NOW, rules=RULES)) == "absent"
    doubted = decide(aged(10, status=404), NOW, rules=RULES, directives=NO_CACHE)
    assert doubted == AskKeeper(purpose=Purpose.FETCH, forward=Forward.REQUEST, since=NOW)


def test_what_was_marked_for_a_question_is_not_served_before_it_is_answered() -> None:
    marked = replace(aged(10), entry=replace(aged(10).entry, fresh_until=0.0))
    assert decide(marked, NOW, rules=replace(RULES, error_s=math.inf)) is STALE
    any_stale = wish(max_stale_s=math.inf)
    forgiving = replace(RULES, error_s=math.inf)
    decision = decide(marked, NOW, rules=forgiving, directives=any_stale)
    assert isinstance(decision, AskKeeper)


def test_a_false_claim_is_not_judged_by_what_is_served_stale() -> None:
    assert decide(aged(61), NOW, claim=OTHER, rules=RULES) is STALE


def test_what_is_served_stale_says_so() -> None:
    decision = decide(aged(63), NOW, rules=RULES)
    assert isinstance(decision, Serve)
    assert decision.outcome == "hit; ttl=-3; detail=stale-while-revalidate"
