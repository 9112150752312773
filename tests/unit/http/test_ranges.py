"""Ranges of a ten-byte representation, one case per row of RFC 9110 section 14."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.ranges import (
    PartialContent,
    Selection,
    Unsatisfiable,
    WholeContent,
    content_range,
    select_range,
    unsatisfied_range,
)

WHOLE, UNSATISFIABLE = WholeContent(), Unsatisfiable()
HUGE = b"%d" % 2**70


def part(start: int, end: int) -> PartialContent:
    return PartialContent(start=start, end=end)


@pytest.mark.parametrize(
    ("value", "selection"),
    [
        pytest.param(None, WHOLE, id="no-range"),
        pytest.param(b"bytes=0-0", part(0, 1), id="first-byte"),
        pytest.param(b"bytes=9-9", part(9, 10), id="last-byte"),
        pytest.param(b"bytes=2-4", part(2, 5), id="middle"),
        pytest.param(b"bytes=0-9", part(0, 10), id="all"),
        pytest.param(b"bytes=0-", part(0, 10), id="open-end-from-zero"),
        pytest.param(b"bytes=4-", part(4, 10), id="open-end"),
        pytest.param(b"bytes=-3", part(7, 10), id="suffix"),
        pytest.param(b"bytes=-10", part(0, 10), id="suffix-of-the-length"),
        pytest.param(b"bytes=-11", part(0, 10), id="suffix-longer-than-content"),
        pytest.param(b"bytes=5-10", part(5, 10), id="end-at-the-length"),
        pytest.param(b"bytes=5-999", part(5, 10), id="end-beyond-the-length"),
        pytest.param(b"bytes=0-" + HUGE, part(0, 10), id="end-2-to-the-70"),
        pytest.param(b"bytes=0-9223372036854775807", part(0, 10), id="end-2-to-the-63-less-1"),
        pytest.param(b"bytes=0-9223372036854775808", part(0, 10), id="end-2-to-the-63"),
        pytest.param(b"bytes=-" + HUGE, part(0, 10), id="suffix-2-to-the-70"),
        pytest.param(b"bytes=0-" + b"9" * 5000, part(0, 10), id="end-of-5000-digits"),
        pytest.param(b"bytes=0000000000000000000000002-03", part(2, 4), id="leading-zeros"),
        pytest.param(b"bytes=00-00", part(0, 1), id="zeros"),
        pytest.param(b"BYTES=2-4", part(2, 5), id="unit-in-upper-case"),
        pytest.param(b"bytes=,2-4,", part(2, 5), id="empty-elements"),
        pytest.param(b"bytes=, ,\t2-4 ,", part(2, 5), id="empty-elements-with-space"),
        pytest.param(b"bytes=10-", UNSATISFIABLE, id="start-at-the-length"),
        pytest.param(b"bytes=10-20", UNSATISFIABLE, id="start-and-end-beyond"),
        pytest.param(b"bytes=" + HUGE + b"-", UNSATISFIABLE, id="start-2-to-the-70"),
        pytest.param(b"bytes=" + HUGE + b"-" + HUGE, UNSATISFIABLE, id="both-2-to-the-70"),
        pytest.param(b"bytes=-0", UNSATISFIABLE, id="empty-suffix"),
        pytest.param(b"bytes=-000", UNSATISFIABLE, id="empty-suffix-with-zeros"),
        pytest.param(b"bytes=9-5", WHOLE, id="last-before-first"),
        pytest.param(b"bytes=1-0", WHOLE, id="last-zero-before-first"),
        pytest.param(b"bytes=" + HUGE + b"-5", WHOLE, id="last-before-a-huge-first"),
        pytest.param(b"bytes=-", WHOLE, id="only-a-dash"),
        pytest.param(b"bytes=a-b", WHOLE, id="letters"),
        pytest.param(b"bytes=+1-5", WHOLE, id="plus-sign"),
        pytest.param(b"bytes=--5", WHOLE, id="two-dashes"),
        pytest.param(b"bytes=0x0-0xf", WHOLE, id="hexadecimal"),
        pytest.param(b"bytes=1_0-", WHOLE, id="underscore"),
        pytest.param(b"bytes=1 -2", WHOLE, id="space-inside"),
        pytest.param(b"bytes=1.0-2", WHOLE, id="fraction"),
        pytest.param("bytes=\u0661-".encode(), WHOLE, id="unicode-digit"),
        pytest.param(b"bytes=2-4\n", WHOLE, id="line-end"),
        pytest.param(b"bytes=2", WHOLE, id="no-dash"),
        pytest.param(b"bytes=", WHOLE, id="empty-set"),
        pytest.param(b"bytes=,", WHOLE, id="only-empty-elements"),
        pytest.param(b"bytes", WHOLE, id="no-equals-sign"),
        pytest.param(b"bytes =0-1", WHOLE, id="space-before-the-equals-sign"),
        pytest.param(b"lines=0-1", WHOLE, id="unknown-unit"),
        pytest.param(b"", WHOLE, id="empty"),
        pytest.param(b"bytes=0-1,4-5", WHOLE, id="two-ranges"),
        pytest.param(b"bytes=0-1, bytes=4-5", WHOLE, id="two-field-lines"),
        pytest.param(b"bytes=0-0,99-", WHOLE, id="one-of-two-unsatisfiable"),
        pytest.param(b"bytes=" + b",".join([b"0-"] * 60), WHOLE, id="attack-sixty-whole-ranges"),
    ],
)
def test_of_ten_bytes(value: bytes | None, selection: Selection) -> None:
    assert select_range(value, 10) == selection


@pytest.mark.parametrize(
    ("value", "selection"),
    [
        pytest.param(b"bytes=0-", UNSATISFIABLE, id="from-zero"),
        pytest.param(b"bytes=0-0", UNSATISFIABLE, id="first-byte"),
        pytest.param(b"bytes=-0", UNSATISFIABLE, id="empty-suffix"),
        pytest.param(b"bytes=-5", WHOLE, id="suffix"),
        pytest.param(None, WHOLE, id="no-range"),
    ],
)
def test_of_no_bytes(value: bytes | None, selection: Selection) -> None:
    assert select_range(value, 0) == selection


def test_a_range_of_an_unknown_length_gives_the_whole() -> None:
    assert select_range(b"bytes=0-1", -1) == WHOLE


def test_the_inclusive_form_is_written() -> None:
    assert content_range(2, 5, 10) == b"bytes 2-4/10"
    assert content_range(0, 1, -1) == b"bytes 0-0/*"
    assert unsatisfied_range(10) == b"bytes */10"


numbers = st.one_of(st.integers(0, 30), st.integers(0, 2**80))


@given(first=st.none() | numbers, last=st.none() | numbers, length=st.integers(0, 20))
def test_a_selection_is_what_indexing_selects(
    first: int | None, last: int | None, length: int
) -> None:
    """The oracle is the definition: the bytes whose offsets the range names."""
    value = b"bytes=%b-%b" % tuple(b"" if n is None else b"%d" % n for n in (first, last))
    selection = select_range(value, length)
    if first is None and last is None:
        assert selection == WHOLE
    elif first is None and last is not None:
        wanted = range(max(length - last, 0), length)
        assert selection == (
            part(wanted.start, wanted.stop) if wanted else UNSATISFIABLE if last == 0 else WHOLE
        )
    elif first is not None and last is not None and last < first:
        assert selection == WHOLE
    elif first is not None:
        stop = length if last is None else min(last + 1, length)
        assert selection == (part(first, stop) if first < stop else UNSATISFIABLE)


@given(st.binary(max_size=40).map(lambda raw: b"bytes=" + raw), st.integers(-1, 50))
def test_no_selection_leaves_the_content(value: bytes, length: int) -> None:
    selection = select_range(value, length)
    if isinstance(selection, PartialContent):
        assert 0 <= selection.start < selection.end <= length
