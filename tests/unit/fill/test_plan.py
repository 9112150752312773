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
    STALE,
    STALE_ABSENCE,
    Absent,
    AbsentReason,
    AskKeeper,
    Decision,
    Serve,
    decide,
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
    ],
)
def test_the_purpose_and_the_words_of_rfc_9211(
    decision: AskKeeper, purpose: Purpose, outcome: str
) -> None:
    assert (decision.purpose, decision.outcome) == (purpose, outcome)


def test_hits_say_how_long_they_stay_fresh() -> None:
    assert Serve(stored=stored(), ttl_s=None).outcome == "hit"
    assert Serve(stored=stored(), ttl_s=57).outcome == "hit; ttl=57"
    claim = Absent(stored=stored(), reason=AbsentReason.CLAIM, ttl_s=None)
    assert claim.outcome == 'hit; detail="claimed digest differs"'
    remembered = Absent(stored=stored(), reason=AbsentReason.REMEMBERED, ttl_s=9)
    assert remembered.outcome == "hit; ttl=9"
