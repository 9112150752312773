"""Cache-Control and Pragma of requests: what is read, what is ignored, what is never an error."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.request_directives import (
    LONGEST_S,
    NO_DIRECTIVES,
    RequestDirectives,
    parse_request_directives,
)

NO_CACHE = RequestDirectives(no_cache=True)
ANY_STALE = RequestDirectives(max_stale_s=math.inf)


def aged(seconds: int) -> RequestDirectives:
    return RequestDirectives(max_age_s=seconds)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"no-cache", NO_CACHE, id="no-cache"),
        pytest.param(b"No-CACHE", NO_CACHE, id="any-case"),
        pytest.param(b"  no-cache\t", NO_CACHE, id="white-space-around"),
        pytest.param(b",, ,no-cache,", NO_CACHE, id="empty-elements"),
        pytest.param(b"max-age=0", aged(0), id="max-age-0"),
        pytest.param(b"max-age=60", aged(60), id="max-age"),
        pytest.param(b'max-age="60"', aged(60), id="max-age-quoted"),
        pytest.param(b'max-age="6\\0"', aged(60), id="max-age-quoted-and-escaped"),
        pytest.param(b"max-age=00060", aged(60), id="leading-zeros"),
        pytest.param(b"max-age=60, max-age=5", aged(5), id="duplicate-strictest"),
        pytest.param(b"max-age=2147483648", aged(LONGEST_S), id="2^31"),
        pytest.param(b"max-age=2147483649", aged(LONGEST_S), id="beyond-2^31"),
        pytest.param(b"max-age=" + b"9" * 9000, aged(LONGEST_S), id="thousands-of-digits"),
        pytest.param(b"max-age=" + b"0" * 9000 + b"7", aged(7), id="thousands-of-zeros"),
        pytest.param(b"max-age", aged(0), id="max-age-without-value"),
        pytest.param(b"max-age=-1", aged(0), id="max-age-signed"),
        pytest.param(b"max-age=1.5", aged(0), id="max-age-decimal"),
        pytest.param(b"max-age=1_0", aged(0), id="max-age-underscore"),
        pytest.param(b'max-age=""', aged(0), id="max-age-empty"),
        pytest.param(b"max-age=abc, max-age=60", aged(0), id="one-unreadable-of-two"),
        pytest.param(b"min-fresh=20", RequestDirectives(min_fresh_s=20), id="min-fresh"),
        pytest.param(b"min-fresh=20, min-fresh=30", RequestDirectives(min_fresh_s=30), id="two"),
        pytest.param(b"min-fresh=x", NO_DIRECTIVES, id="min-fresh-unreadable"),
        pytest.param(b"max-stale", ANY_STALE, id="max-stale-any"),
        pytest.param(b"max-stale=9", RequestDirectives(max_stale_s=9), id="max-stale"),
        pytest.param(b"max-stale, max-stale=9", RequestDirectives(max_stale_s=9), id="both"),
        pytest.param(b"max-stale=x", NO_DIRECTIVES, id="max-stale-unreadable"),
        pytest.param(b"only-if-cached", RequestDirectives(only_if_cached=True), id="only-cached"),
        pytest.param(
            b"max-age=5, only-if-cached, no-cache",
            RequestDirectives(max_age_s=5, only_if_cached=True, no_cache=True),
            id="several",
        ),
        pytest.param(b"", NO_DIRECTIVES, id="empty"),
        pytest.param(b"no-store, no-transform", NO_DIRECTIVES, id="nothing-to-select"),
        pytest.param(b"stale-if-error=60, foo=bar", NO_DIRECTIVES, id="unknown"),
        pytest.param(b'foo="no-cache, max-age=5"', NO_DIRECTIVES, id="inside-a-string"),
        pytest.param(b'foo="a\\", no-cache", max-age=5', aged(5), id="behind-a-string"),
        pytest.param(b'foo="a, no-cache', NO_DIRECTIVES, id="string-that-never-ends"),
        pytest.param(b'max-age=5, foo="a, no-cache', aged(5), id="before-such-a-string"),
        pytest.param(b"max-age = 5", NO_DIRECTIVES, id="space-around-equals"),
        pytest.param(b"no cache", NO_DIRECTIVES, id="no-token"),
        pytest.param(b"no-cache x, max-age=5", aged(5), id="broken-element"),
        pytest.param(b"\xffno-cache", NO_DIRECTIVES, id="not-ascii"),
    ],
)
def test_cache_control(value: bytes, expected: RequestDirectives) -> None:
    assert parse_request_directives(value, None) == expected


@pytest.mark.parametrize("value", [None, b"", b"no-store", b"foo", b"min-fresh=0"])
def test_what_selects_nothing_is_the_same_object(value: bytes | None) -> None:
    """By this the memo sees that a head with it is as good as one without."""
    assert parse_request_directives(value, None) is NO_DIRECTIVES


@pytest.mark.parametrize(
    ("cache_control", "pragma", "expected"),
    [
        pytest.param(None, b"no-cache", NO_CACHE, id="alone"),
        pytest.param(None, b"foo, No-Cache", NO_CACHE, id="in-a-list"),
        pytest.param(None, b"cache", NO_DIRECTIVES, id="another"),
        pytest.param(b"max-age=60", b"no-cache", aged(60), id="cache-control-wins"),
        pytest.param(b"", b"no-cache", NO_DIRECTIVES, id="also-an-empty-one"),
    ],
)
def test_pragma_counts_without_cache_control_only(
    cache_control: bytes | None, pragma: bytes, expected: RequestDirectives
) -> None:
    assert parse_request_directives(cache_control, pragma) == expected


@given(value=st.binary(max_size=300))
def test_no_value_is_an_error(value: bytes) -> None:
    found = parse_request_directives(value, value)
    assert found.max_age_s is None or 0 <= found.max_age_s <= LONGEST_S
    assert 0 <= found.min_fresh_s <= LONGEST_S


NAMES = ("no-cache", "only-if-cached", "no-store", "x-unknown", "no-transform")


@given(
    names=st.lists(st.sampled_from(NAMES), max_size=5),
    age=st.none() | st.integers(min_value=0, max_value=LONGEST_S),
    quoted=st.booleans(),
    separator=st.sampled_from([",", ", ", " ,\t", ",,"]),
)
def test_written_directives_are_read_back(
    names: list[str], age: int | None, quoted: bool, separator: str
) -> None:
    written = [
        *names,
        *([f'max-age="{age}"' if quoted else f"max-age={age}"] if age is not None else []),
    ]
    found = parse_request_directives(separator.join(written).encode(), None)
    assert found == RequestDirectives(
        no_cache="no-cache" in names,
        only_if_cached="only-if-cached" in names,
        max_age_s=age,
    )
