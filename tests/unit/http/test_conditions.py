"""Preconditions; each row names its section of RFC 9110."""

from __future__ import annotations

import datetime
import time

import pytest
from hypothesis import given, settings
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
RFC_850, RFC_850_EARLIER = b"Tuesday, 14-Nov-23 22:13:20 GMT", b"Tuesday, 14-Nov-23 22:13:19 GMT"
ASCTIME, ASCTIME_EARLIER = b"Tue Nov 14 22:13:20 2023", b"Tue Nov 14 22:13:19 2023"
OBS_TEXT = bytes(range(0x80, 0x100))
NOW = 1_795_348_800.0  # 2026-11-22T12:00:00Z

PROCEED, NOT_MODIFIED, FAILED = Verdict.PROCEED, Verdict.NOT_MODIFIED, Verdict.FAILED


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        pytest.param(ETAG, NOT_MODIFIED, id="13.1.2-equal"),
        pytest.param(b"W/" + ETAG, NOT_MODIFIED, id="8.8.3.2-weak-spelling-of-ours"),
        pytest.param(GZIP_ETAG, NOT_MODIFIED, id="13.1.2-gzip-variant"),
        pytest.param(b"W/" + GZIP_ETAG, NOT_MODIFIED, id="13.1.2-weak-gzip-variant"),
        pytest.param(b"*", NOT_MODIFIED, id="13.1.2-star"),
        pytest.param(b" * ", NOT_MODIFIED, id="13.1.2-star-with-space"),
        pytest.param(OTHER + b", " + ETAG, NOT_MODIFIED, id="5.6.1-list"),
        pytest.param(
            b",, " + OTHER + b" ,\t, " + ETAG + b" ,", NOT_MODIFIED, id="5.6.1.2-empty-elements"
        ),
        pytest.param(b'"a,b", ' + ETAG, NOT_MODIFIED, id="8.8.3-comma-inside-a-tag"),
        pytest.param(b'"\xe4", ' + ETAG, NOT_MODIFIED, id="8.8.3-obs-text-in-a-tag"),
        pytest.param(b'"", ' + ETAG, NOT_MODIFIED, id="8.8.3-empty-tag"),
        pytest.param(b'"' + OBS_TEXT + b'",' + ETAG, NOT_MODIFIED, id="8.8.3-all-of-obs-text"),
        pytest.param(OTHER + b", " + OTHER + b", W/" + ETAG, NOT_MODIFIED, id="5.3-lines-joined"),
        pytest.param(b'"a b", ' + ETAG, PROCEED, id="8.8.3-space-in-a-tag"),
        pytest.param(b'"a\x7f", ' + ETAG, PROCEED, id="8.8.3-delete-in-a-tag"),
        pytest.param(b'"a\x00", ' + ETAG, PROCEED, id="8.8.3-nul-in-a-tag"),
        pytest.param(b"W/W/" + ETAG, PROCEED, id="8.8.3-twice-weak"),
        pytest.param(ETAG + b", *", PROCEED, id="13.1.2-star-at-the-end-of-a-list"),
        pytest.param(b'"*"', PROCEED, id="13.1.2-quoted-star-is-a-tag"),
        pytest.param(b"**", PROCEED, id="13.1.2-two-stars"),
        pytest.param(b'"a\\", ' + ETAG, NOT_MODIFIED, id="8.8.3-backslash-is-no-escape"),
        pytest.param(OTHER, PROCEED, id="13.1.2-other"),
        pytest.param(
            b'"x,' + ETAG[1:-1] + b'"', PROCEED, id="8.8.3-our-digest-after-a-comma-in-a-tag"
        ),
        pytest.param(ETAG[1:-1], PROCEED, id="8.8.3-unquoted"),
        pytest.param(ETAG + b" junk", PROCEED, id="13.1.2-junk-behind"),
        pytest.param(b"junk, " + ETAG, PROCEED, id="13.1.2-junk-before"),
        pytest.param(OTHER + ETAG, PROCEED, id="13.1.2-no-comma-between"),
        pytest.param(OTHER + b" " + ETAG, PROCEED, id="13.1.2-only-space-between"),
        pytest.param(b"*, " + ETAG, PROCEED, id="13.1.2-star-in-a-list"),
        pytest.param(b"w/" + ETAG, PROCEED, id="8.8.3-lower-case-w"),
        pytest.param(b"W/ " + ETAG, PROCEED, id="8.8.3-space-after-w"),
        pytest.param(b'"', PROCEED, id="13.1.2-one-quote"),
        pytest.param(b'"-gzip"', PROCEED, id="13.1.2-bare-suffix"),
        pytest.param(b"", PROCEED, id="13.1.2-empty"),
        pytest.param(b",", PROCEED, id="13.1.2-only-a-comma"),
    ],
)
def test_if_none_match_compares_weakly(value: bytes, verdict: Verdict) -> None:
    conditions = Conditions(if_none_match=value)
    assert evaluate(b"GET", conditions, ETAG, MODIFIED_AT) is verdict
    assert evaluate(b"HEAD", conditions, ETAG, MODIFIED_AT) is verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        pytest.param(ETAG, PROCEED, id="13.1.1-equal"),
        pytest.param(b"*", PROCEED, id="13.1.1-star"),
        pytest.param(b"\t*", PROCEED, id="13.1.1-star-with-space"),
        pytest.param(OTHER + b"," + ETAG, PROCEED, id="5.6.1-list"),
        pytest.param(OTHER, FAILED, id="13.1.1-other"),
        pytest.param(b"W/" + ETAG, FAILED, id="8.8.3.2-weak-never-matches-strongly"),
        pytest.param(GZIP_ETAG, FAILED, id="13.1.1-another-representation"),
        pytest.param(OTHER + b", W/" + ETAG, FAILED, id="8.8.3.2-only-weak-in-a-list"),
        pytest.param(b"W/" + ETAG + b", " + ETAG, PROCEED, id="8.8.3.2-weak-and-strong-in-a-list"),
        pytest.param(b'"a,b",' + ETAG, PROCEED, id="8.8.3-comma-inside-a-tag"),
        pytest.param(b'"' + OBS_TEXT + b'",' + ETAG, PROCEED, id="8.8.3-all-of-obs-text"),
        pytest.param(b",, " + ETAG + b" ,", PROCEED, id="5.6.1.2-empty-elements"),
        pytest.param(OTHER + b", " + OTHER + b", " + ETAG, PROCEED, id="5.3-lines-joined"),
        pytest.param(ETAG + b" junk", FAILED, id="13.1.1-junk-behind"),
        pytest.param(b"*, " + OTHER, FAILED, id="13.1.1-star-in-a-list"),
        pytest.param(b"junk", FAILED, id="13.1.1-malformed"),
        pytest.param(b"", FAILED, id="13.1.1-empty"),
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
        pytest.param(DATE, NOT_MODIFIED, id="13.1.3-equal"),
        pytest.param(LATER, NOT_MODIFIED, id="13.1.3-later-than-last-modified"),
        pytest.param(b"Fri, 31 Dec 9999 23:59:59 GMT", NOT_MODIFIED, id="13.1.3-far-in-the-future"),
        pytest.param(b"Tuesday, 14-Nov-23 22:13:20 GMT", NOT_MODIFIED, id="5.6.7-rfc-850"),
        pytest.param(ASCTIME, NOT_MODIFIED, id="5.6.7-asctime"),
        pytest.param(b"Sunday, 14-Nov-76 22:13:20 GMT", NOT_MODIFIED, id="5.6.7-50-years-ahead"),
        pytest.param(b"Sunday, 14-Nov-77 22:13:20 GMT", PROCEED, id="5.6.7-51-years-ahead-is-past"),
        pytest.param(RFC_850_EARLIER, PROCEED, id="5.6.7-rfc-850-earlier"),
        pytest.param(ASCTIME_EARLIER, PROCEED, id="5.6.7-asctime-earlier"),
        pytest.param(b"0", PROCEED, id="13.1.3-number"),
        pytest.param(EARLIER, PROCEED, id="13.1.3-earlier"),
        pytest.param(b"yesterday", PROCEED, id="13.1.3-malformed-is-ignored"),
        pytest.param(DATE + b", " + DATE, PROCEED, id="13.1.3-two-members-are-ignored"),
        pytest.param(b"", PROCEED, id="13.1.3-empty"),
    ],
)
def test_if_modified_since(value: bytes, verdict: Verdict) -> None:
    conditions = Conditions(if_modified_since=value)
    assert evaluate(b"GET", conditions, ETAG, MODIFIED_AT, now=NOW) is verdict
    assert evaluate(b"HEAD", conditions, ETAG, MODIFIED_AT, now=NOW) is verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        pytest.param(DATE, PROCEED, id="13.1.4-equal"),
        pytest.param(LATER, PROCEED, id="13.1.4-later"),
        pytest.param(EARLIER, FAILED, id="13.1.4-earlier"),
        pytest.param(RFC_850, PROCEED, id="5.6.7-rfc-850"),
        pytest.param(RFC_850_EARLIER, FAILED, id="5.6.7-rfc-850-earlier"),
        pytest.param(ASCTIME, PROCEED, id="5.6.7-asctime"),
        pytest.param(ASCTIME_EARLIER, FAILED, id="5.6.7-asctime-earlier"),
        pytest.param(EARLIER + b", " + EARLIER, PROCEED, id="13.1.4-two-members-are-ignored"),
        pytest.param(b"yesterday", PROCEED, id="13.1.4-malformed-is-ignored"),
    ],
)
def test_if_unmodified_since(value: bytes, verdict: Verdict) -> None:
    conditions = Conditions(if_unmodified_since=value)
    assert evaluate(b"GET", conditions, ETAG, MODIFIED_AT) is verdict


@pytest.mark.parametrize(
    ("conditions", "verdict"),
    [
        pytest.param(UNCONDITIONAL, PROCEED, id="13.2.2-none-at-all"),
        pytest.param(Conditions(), PROCEED, id="13.2.2-none-in-another-object"),
        pytest.param(
            Conditions(if_match=ETAG, if_unmodified_since=EARLIER), PROCEED,
            id="13.2.2-if-match-replaces-if-unmodified-since",
        ),
        pytest.param(
            Conditions(if_match=OTHER, if_none_match=ETAG), FAILED,
            id="13.2.2-if-match-comes-before-if-none-match",
        ),
        pytest.param(
            Conditions(if_match=ETAG, if_none_match=ETAG), NOT_MODIFIED,
            id="13.2.2-if-none-match-after-a-true-if-match",
        ),
        pytest.param(
            Conditions(if_none_match=OTHER, if_modified_since=LATER), PROCEED,
            id="13.2.2-if-none-match-replaces-if-modified-since",
        ),
        pytest.param(
            Conditions(if_none_match=ETAG, if_modified_since=EARLIER), NOT_MODIFIED,
            id="13.2.2-equal-tag-and-earlier-date",
        ),
        pytest.param(
            Conditions(if_unmodified_since=EARLIER, if_none_match=ETAG), FAILED,
            id="13.2.2-if-unmodified-since-comes-before-if-none-match",
        ),
        pytest.param(
            Conditions(if_unmodified_since=LATER, if_modified_since=LATER), NOT_MODIFIED,
            id="13.2.2-both-dates",
        ),
        pytest.param(Conditions(if_range=OTHER), PROCEED, id="13.2.2-if-range-has-no-part"),
    ],
)  # fmt: skip
def test_the_order_is_that_of_the_rfc(conditions: Conditions, verdict: Verdict) -> None:
    assert evaluate(b"GET", conditions, ETAG, MODIFIED_AT) is verdict


@pytest.mark.parametrize(
    ("conditions", "verdict"),
    [
        pytest.param(Conditions(if_none_match=ETAG), FAILED, id="13.2.2-if-none-match-fails"),
        pytest.param(Conditions(if_none_match=OTHER), PROCEED, id="13.2.2-if-none-match-holds"),
        pytest.param(
            Conditions(if_modified_since=LATER), PROCEED, id="13.2.2-if-modified-since-ignored"
        ),
    ],
)
def test_an_unsafe_method_never_gets_not_modified(conditions: Conditions, verdict: Verdict) -> None:
    assert evaluate(b"PUT", conditions, ETAG, MODIFIED_AT) is verdict


@pytest.mark.parametrize(
    "conditions",
    [
        pytest.param(Conditions(if_modified_since=LATER), id="13.1.3-if-modified-since"),
        pytest.param(
            Conditions(if_unmodified_since=b"Thu, 01 Jan 1970 00:00:00 GMT"), id="13.1.3-if-un"
        ),
    ],
)
def test_dates_are_ignored_without_a_last_modified(conditions: Conditions) -> None:
    assert evaluate(b"GET", conditions, ETAG, 0) is PROCEED


@pytest.mark.parametrize(
    ("value", "applies"),
    [
        pytest.param(None, True, id="13.1.5-not-sent"),
        pytest.param(ETAG, True, id="13.1.5-strong-and-equal"),
        pytest.param(DATE, True, id="13.1.5-exact-date"),
        pytest.param(RFC_850, True, id="5.6.7-rfc-850"),
        pytest.param(ASCTIME, True, id="5.6.7-asctime"),
        pytest.param(DATE + b", " + DATE, False, id="13.1.5-two-dates"),
        pytest.param(ETAG + b" ", False, id="13.1.5-space-behind"),
        pytest.param(OTHER, False, id="13.1.5-mismatch"),
        pytest.param(b"W/" + ETAG, False, id="8.8.3.2-weak"),
        pytest.param(GZIP_ETAG, False, id="13.1.5-other-coding"),
        pytest.param(LATER, False, id="13.1.5-later-date-is-not-exact"),
        pytest.param(EARLIER, False, id="13.1.5-earlier-date"),
        pytest.param(b"*", False, id="13.1.5-star-is-no-if-range"),
        pytest.param(ETAG + b", " + OTHER, False, id="13.1.5-a-list-is-no-if-range"),
        pytest.param(b"junk", False, id="13.1.5-malformed"),
        pytest.param(b"", False, id="13.1.5-empty"),
    ],
)
def test_if_range(value: bytes | None, applies: bool) -> None:
    assert range_applies(value, ETAG, MODIFIED_AT) is applies


@pytest.mark.parametrize(
    ("age_s", "applies"),
    [
        pytest.param(0.0, False, id="8.8.2.2-same-second"),
        pytest.param(0.9, False, id="8.8.2.2-under-a-second"),
        pytest.param(1.0, True, id="8.8.2.2-a-second"),
    ],
)
def test_a_last_modified_is_strong_only_when_a_second_old(age_s: float, applies: bool) -> None:
    received_at = MODIFIED_AT + age_s
    assert range_applies(DATE, ETAG, MODIFIED_AT, received_at=received_at) is applies


def test_the_epoch_is_no_last_modified_for_if_range() -> None:
    """0 says that there is none; a date that is 0 must not equal it."""
    assert not range_applies(b"Thu, 01 Jan 1970 00:00:00 GMT", ETAG, 0)


def test_weak_validator_never_satisfies_if_range() -> None:
    assert not range_applies(b'W/"1"', b'W/"1"', MODIFIED_AT)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b'"a",' * 4000 + b"!", id="tags"),
        pytest.param(b'"' + b"a" * 16_000, id="one-open-tag"),
        pytest.param(b'W/"' * 5000, id="open-weak-tags"),
        pytest.param(b'"a"' + b" ," * 8000 + b"!", id="separators"),
        pytest.param(b'"a"' + b" " * 16_000 + b"!", id="spaces"),
        pytest.param(b", " * 8000 + b"!", id="leading-separators"),
        pytest.param(b'"" ' * 5000, id="no-commas"),
        pytest.param(b'"",' + b'"\xff",' * 3000 + b'"', id="obs-text-and-an-open-tag"),
        pytest.param(b"Tue, " + b"1" * 16_000, id="digits"),
    ],
)
def test_attack_by_length_takes_no_time(value: bytes) -> None:
    begun = time.perf_counter()
    for _ in range(10):
        evaluate(b"GET", Conditions(if_match=value), ETAG, MODIFIED_AT)
        evaluate(b"GET", Conditions(if_none_match=value), ETAG, MODIFIED_AT)
        evaluate(b"GET", Conditions(if_modified_since=value), ETAG, MODIFIED_AT)
        range_applies(value, ETAG, MODIFIED_AT)
    assert time.perf_counter() - begun < 0.5


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


# The slow, obvious model: a parser by hand, the calendar of the standard library, the steps of
# section 13.2.2 as they are written there.


def tags_of(value: bytes) -> list[tuple[bool, bytes]] | None:
    """(is weak, opaque tag) of each member of a list of entity tags; None: it is none."""
    found: list[tuple[bool, bytes]] = []
    at, is_separated = 0, True
    while at < len(value):
        if value[at : at + 1] in (b" ", b"\t"):
            at += 1
            continue
        if value[at : at + 1] == b",":
            at, is_separated = at + 1, True
            continue
        is_weak = value[at : at + 2] == b"W/"
        at += 2 if is_weak else 0
        end = value.find(b'"', at + 1)
        if not is_separated or value[at : at + 1] != b'"' or end < 0:
            return None
        opaque_tag = value[at + 1 : end]
        if any(byte <= 0x20 or byte == 0x7F for byte in opaque_tag):
            return None
        found.append((is_weak, opaque_tag))
        at, is_separated = end + 1, False
    return found or None


def date_of(value: bytes) -> datetime.datetime | None:
    """One of the three forms; the model is only given dates that exist, or junk."""
    for form in ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"):
        try:
            text = value.decode("latin-1") + " +0000"
            found = datetime.datetime.strptime(text, f"{form} %z")
        except ValueError:
            continue
        if found.strftime(f"{form} %z") == text:  # strptime is lenient about case and space
            return found
    return None


MODEL_MODIFIED = datetime.datetime.fromtimestamp(MODIFIED_AT, datetime.UTC)


def is_listed(value: bytes, *, strongly: bool) -> bool:
    if value.strip(b" \t") == b"*":
        return True
    for is_weak, tag in tags_of(value) or []:
        ours = {ETAG[1:-1]} if strongly else {ETAG[1:-1], GZIP_ETAG[1:-1]}
        if tag in ours and not (strongly and is_weak):
            return True
    return False


def model(method: bytes, conditions: Conditions) -> Verdict:
    # 1. and 2.
    if conditions.if_match is not None:
        if not is_listed(conditions.if_match, strongly=True):
            return FAILED
    elif conditions.if_unmodified_since is not None:
        date = date_of(conditions.if_unmodified_since)
        if date is not None and date < MODEL_MODIFIED:
            return FAILED
    # 3. and 4.
    is_safe = method in (b"GET", b"HEAD")
    if conditions.if_none_match is not None:
        if is_listed(conditions.if_none_match, strongly=False):
            return NOT_MODIFIED if is_safe else FAILED
    elif is_safe and conditions.if_modified_since is not None:
        date = date_of(conditions.if_modified_since)
        if date is not None and date >= MODEL_MODIFIED:
            return NOT_MODIFIED
    return PROCEED


bits = st.sampled_from(
    [
        ETAG,
        b"W/" + ETAG,
        GZIP_ETAG,
        OTHER,
        b'""',
        b'"a,b"',
        b'"\xe4"',
        b"*",
        b",",
        b", ",
        b" ",
        b"\t",
        b'"',
        b"W/",
        b"w/",
        b"junk",
        b"\x7f",
        ETAG[1:-1],
    ]
)
lists = st.one_of(
    st.lists(bits, max_size=7).map(b"".join),
    st.lists(st.sampled_from([ETAG, b"W/" + ETAG, OTHER, GZIP_ETAG, b'"a,b"']), max_size=5).map(
        b", ".join
    ),
    st.sampled_from([b"*", ETAG, b"W/" + ETAG]),
)
FORMS = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y")
dates = st.one_of(
    st.tuples(st.sampled_from(FORMS), st.sampled_from([-86_400, -1, 0, 1, 86_400])).map(
        lambda drawn: (
            datetime.datetime.fromtimestamp(MODIFIED_AT + drawn[1], datetime.UTC)
            .strftime(drawn[0])
            .encode()
        )
    ),
    st.sampled_from([b"", b"0", b"yesterday", DATE + b", " + DATE, DATE + b" ", DATE.lower()[:-3]]),
)


@settings(max_examples=400)
@given(
    method=st.sampled_from([b"GET", b"HEAD", b"PUT"]),
    conditions=st.builds(
        Conditions,
        if_match=st.none() | lists,
        if_none_match=st.none() | lists,
        if_modified_since=st.none() | dates,
        if_unmodified_since=st.none() | dates,
    ),
)
def test_a_verdict_is_that_of_the_model(method: bytes, conditions: Conditions) -> None:
    assert evaluate(method, conditions, ETAG, MODIFIED_AT, now=NOW) is model(method, conditions)


@settings(max_examples=200)
@given(value=lists | dates)
def test_if_range_is_judged_as_by_the_model(value: bytes) -> None:
    """One strong tag that equals ours, or the very date (section 13.1.5)."""
    is_tag = value == ETAG and tags_of(value) == [(False, ETAG[1:-1])]
    assert range_applies(value, ETAG, MODIFIED_AT, now=NOW) is (
        is_tag or date_of(value) == MODEL_MODIFIED
    )
