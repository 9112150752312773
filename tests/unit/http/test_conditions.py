"""The precedence table of RFC 9110 section 13.2.2, one case per row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.conditions import (
    UNCONDITIONAL,
    Conditions,
    Verdict,
    entity_tags,
    evaluate,
    range_applies,
)
from mirror.http.dates import format_http_date

ETAG = b'"' + b"ab" * 32 + b'"'
GZIP_ETAG = b'"' + b"ab" * 32 + b'-gzip"'
OTHER = b'"' + b"cd" * 32 + b'"'
MODIFIED_AT = 1_700_000_000
DATE = format_http_date(MODIFIED_AT)
EARLIER = format_http_date(MODIFIED_AT - 1)
LATER = format_http_date(MODIFIED_AT + 1)

PROCEED, NOT_MODIFIED, FAILED = Verdict.PROCEED, Verdict.NOT_MODIFIED, Verdict.FAILED


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        pytest.param(ETAG, NOT_MODIFIED, id="equal"),
        pytest.param(b"W/" + ETAG, NOT_MODIFIED, id="weak-spelling-of-ours"),
        pytest.param(GZIP_ETAG, NOT_MODIFIED, id="gzip-variant"),
        pytest.param(b"W/" + GZIP_ETAG, NOT_MODIFIED, id="weak-gzip-variant"),
        pytest.param(b"*", NOT_MODIFIED, id="star"),
        pytest.param(b" * ", NOT_MODIFIED, id="star-with-space"),
        pytest.param(OTHER + b", " + ETAG, NOT_MODIFIED, id="list"),
        pytest.param(b",, " + OTHER + b" ,\t, " + ETAG + b" ,", NOT_MODIFIED, id="empty-elements"),
        pytest.param(b'"a,b", ' + ETAG, NOT_MODIFIED, id="comma-inside-a-tag"),
        pytest.param(b'"\xe4", ' + ETAG, NOT_MODIFIED, id="obs-text-in-a-tag"),
        pytest.param(b'"a\\", ' + ETAG, NOT_MODIFIED, id="backslash-is-no-escape"),
        pytest.param(OTHER, PROCEED, id="other"),
        pytest.param(b'"x,' + ETAG[1:-1] + b'"', PROCEED, id="our-digest-after-a-comma-in-a-tag"),
        pytest.param(ETAG[1:-1], PROCEED, id="unquoted"),
        pytest.param(ETAG + b" junk", PROCEED, id="junk-behind"),
        pytest.param(b"junk, " + ETAG, PROCEED, id="junk-before"),
        pytest.param(OTHER + ETAG, PROCEED, id="no-comma-between"),
        pytest.param(OTHER + b" " + ETAG, PROCEED, id="only-space-between"),
        pytest.param(b"*, " + ETAG, PROCEED, id="star-in-a-list"),
        pytest.param(b"w/" + ETAG, PROCEED, id="lower-case-w"),
        pytest.param(b"W/ " + ETAG, PROCEED, id="space-after-w"),
        pytest.param(b'"', PROCEED, id="one-quote"),
        pytest.param(b'"-gzip"', PROCEED, id="bare-suffix"),
        pytest.param(b"", PROCEED, id="empty"),
        pytest.param(b",", PROCEED, id="only-a-comma"),
    ],
)
def test_if_none_match_compares_weakly(value: bytes, verdict: Verdict) -> None:
    conditions = Conditions(if_none_match=value)
    assert evaluate(b"GET", conditions, ETAG, MODIFIED_AT) is verdict
    assert evaluate(b"HEAD", conditions, ETAG, MODIFIED_AT) is verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        pytest.param(ETAG, PROCEED, id="equal"),
        pytest.param(b"*", PROCEED, id="star"),
        pytest.param(b"\t*", PROCEED, id="star-with-space"),
        pytest.param(OTHER + b"," + ETAG, PROCEED, id="list"),
        pytest.param(OTHER, FAILED, id="other"),
        pytest.param(b"W/" + ETAG, FAILED, id="weak-never-matches-strongly"),
        pytest.param(GZIP_ETAG, FAILED, id="another-representation"),
        pytest.param(b"junk", FAILED, id="malformed"),
        pytest.param(b"", FAILED, id="empty"),
    ],
)
def test_if_match_compares_strongly(value: bytes, verdict: Verdict) -> None:
    assert evaluate(b"GET", Conditions(if_match=value), ETAG, MODIFIED_AT) is verdict


def test_a_weak_validator_of_ours_never_satisfies_if_match() -> None:
    weak = b'W/"1"'
    assert evaluate(b"GET", Conditions(if_match=weak), weak, MODIFIED_AT) is FAILED


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        pytest.param(DATE, NOT_MODIFIED, id="equal"),
        pytest.param(LATER, NOT_MODIFIED, id="later-than-last-modified"),
        pytest.param(b"Fri, 31 Dec 9999 23:59:59 GMT", NOT_MODIFIED, id="far-in-the-future"),
        pytest.param(b"Tuesday, 14-Nov-23 22:13:20 GMT", NOT_MODIFIED, id="rfc-850"),
        pytest.param(EARLIER, PROCEED, id="earlier"),
        pytest.param(b"yesterday", PROCEED, id="malformed-is-ignored"),
        pytest.param(DATE + b", " + DATE, PROCEED, id="two-members-are-ignored"),
        pytest.param(b"", PROCEED, id="empty"),
    ],
)
def test_if_modified_since(value: bytes, verdict: Verdict) -> None:
    conditions = Conditions(if_modified_since=value)
    assert evaluate(b"GET", conditions, ETAG, MODIFIED_AT) is verdict
    assert evaluate(b"HEAD", conditions, ETAG, MODIFIED_AT) is verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        pytest.param(DATE, PROCEED, id="equal"),
        pytest.param(LATER, PROCEED, id="later"),
        pytest.param(EARLIER, FAILED, id="earlier"),
        pytest.param(b"yesterday", PROCEED, id="malformed-is-ignored"),
    ],
)
def test_if_unmodified_since(value: bytes, verdict: Verdict) -> None:
    conditions = Conditions(if_unmodified_since=value)
    assert evaluate(b"GET", conditions, ETAG, MODIFIED_AT) is verdict


@pytest.mark.parametrize(
    ("conditions", "verdict"),
    [
        pytest.param(UNCONDITIONAL, PROCEED, id="none-at-all"),
        pytest.param(Conditions(), PROCEED, id="none-in-another-object"),
        pytest.param(
            Conditions(if_match=ETAG, if_unmodified_since=EARLIER), PROCEED,
            id="if-match-replaces-if-unmodified-since",
        ),
        pytest.param(
            Conditions(if_match=OTHER, if_none_match=ETAG), FAILED,
            id="if-match-comes-before-if-none-match",
        ),
        pytest.param(
            Conditions(if_match=ETAG, if_none_match=ETAG), NOT_MODIFIED,
            id="if-none-match-after-a-true-if-match",
        ),
        pytest.param(
            Conditions(if_none_match=OTHER, if_modified_since=LATER), PROCEED,
            id="if-none-match-replaces-if-modified-since",
        ),
        pytest.param(
            Conditions(if_none_match=ETAG, if_modified_since=EARLIER), NOT_MODIFIED,
            id="equal-tag-and-earlier-date",
        ),
        pytest.param(
            Conditions(if_unmodified_since=EARLIER, if_none_match=ETAG), FAILED,
            id="if-unmodified-since-comes-before-if-none-match",
        ),
        pytest.param(
            Conditions(if_unmodified_since=LATER, if_modified_since=LATER), NOT_MODIFIED,
            id="both-dates",
        ),
        pytest.param(Conditions(if_range=OTHER), PROCEED, id="if-range-is-not-a-precondition-here"),
    ],
)  # fmt: skip
def test_the_order_is_that_of_the_rfc(conditions: Conditions, verdict: Verdict) -> None:
    assert evaluate(b"GET", conditions, ETAG, MODIFIED_AT) is verdict


@pytest.mark.parametrize(
    ("conditions", "verdict"),
    [
        pytest.param(Conditions(if_none_match=ETAG), FAILED, id="if-none-match-fails"),
        pytest.param(Conditions(if_none_match=OTHER), PROCEED, id="if-none-match-holds"),
        pytest.param(Conditions(if_modified_since=LATER), PROCEED, id="if-modified-since-ignored"),
    ],
)
def test_an_unsafe_method_never_gets_not_modified(conditions: Conditions, verdict: Verdict) -> None:
    assert evaluate(b"PUT", conditions, ETAG, MODIFIED_AT) is verdict


@pytest.mark.parametrize(
    "conditions",
    [
        pytest.param(Conditions(if_modified_since=LATER), id="if-modified-since"),
        pytest.param(Conditions(if_unmodified_since=b"Thu, 01 Jan 1970 00:00:00 GMT"), id="if-un"),
    ],
)
def test_dates_are_ignored_without_a_last_modified(conditions: Conditions) -> None:
    assert evaluate(b"GET", conditions, ETAG, 0) is PROCEED


@pytest.mark.parametrize(
    ("value", "applies"),
    [
        pytest.param(None, True, id="not-sent"),
        pytest.param(ETAG, True, id="strong-and-equal"),
        pytest.param(DATE, True, id="exact-date"),
        pytest.param(OTHER, False, id="mismatch"),
        pytest.param(b"W/" + ETAG, False, id="weak"),
        pytest.param(GZIP_ETAG, False, id="other-coding"),
        pytest.param(LATER, False, id="later-date-is-not-exact"),
        pytest.param(EARLIER, False, id="earlier-date"),
        pytest.param(b"*", False, id="star-is-no-if-range"),
        pytest.param(ETAG + b", " + OTHER, False, id="a-list-is-no-if-range"),
        pytest.param(b"junk", False, id="malformed"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_if_range(value: bytes | None, applies: bool) -> None:
    assert range_applies(value, ETAG, MODIFIED_AT) is applies


@pytest.mark.parametrize(
    ("age_s", "applies"),
    [
        pytest.param(0.0, False, id="same-second"),
        pytest.param(0.9, False, id="under-a-second"),
        pytest.param(1.0, True, id="a-second"),
    ],
)
def test_a_last_modified_is_strong_only_when_a_second_old(age_s: float, applies: bool) -> None:
    received_at = MODIFIED_AT + age_s
    assert range_applies(DATE, ETAG, MODIFIED_AT, received_at=received_at) is applies


def test_weak_validator_never_satisfies_if_range() -> None:
    assert not range_applies(b'W/"1"', b'W/"1"', MODIFIED_AT)


opaque = st.binary(max_size=12).map(
    lambda raw: bytes(byte for byte in raw if byte not in b'"' and byte > 0x20 and byte != 0x7F)
)
tags = st.tuples(st.sampled_from([b"", b"W/"]), opaque).map(lambda t: t[0] + b'"' + t[1] + b'"')


@given(st.lists(tags, max_size=6), st.sampled_from([b",", b", ", b" ,\t", b",,"]))
def test_a_list_of_tags_is_read_back(wanted: list[bytes], separator: bytes) -> None:
    assert list(entity_tags(separator.join(wanted))) == wanted


@given(st.binary(max_size=60))
def test_no_list_raises_and_not_modified_needs_our_digest(value: bytes) -> None:
    verdict = evaluate(b"GET", Conditions(if_none_match=value), ETAG, 0)
    assert verdict is PROCEED or ETAG[1:-1] in value or value.strip(b" \t") == b"*"
