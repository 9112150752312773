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
    Serve,
    decide,
    decide_crate,
    pinned,
)
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
