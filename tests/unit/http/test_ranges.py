"""Ranges of a ten-byte representation; each row names its section of RFC 9110."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.http.ranges import (
    PartialContent,
    Selection,
    SeveralParts,
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


def several(*parts: tuple[int, int]) -> SeveralParts:
    return SeveralParts(parts=tuple(part(*ends) for ends in parts))


@pytest.mark.parametrize(
    ("value", "selection"),
    [
        pytest.param(None, WHOLE, id="14.2-no-range"),
        pytest.param(b"bytes=0-0", part(0, 1), id="14.1.2-first-byte"),
        pytest.param(b"bytes=9-9", part(9, 10), id="14.1.2-last-byte"),
        pytest.param(b"bytes=2-4", part(2, 5), id="14.1.2-middle"),
        pytest.param(b"bytes=0-9", part(0, 10), id="14.1.2-all"),
        pytest.param(b"bytes=0-", part(0, 10), id="14.1.2-open-end-from-zero"),
        pytest.param(b"bytes=4-", part(4, 10), id="14.1.2-open-end"),
        pytest.param(b"bytes=-3", part(7, 10), id="14.1.2-suffix"),
        pytest.param(b"bytes=-10", part(0, 10), id="14.1.2-suffix-of-the-length"),
        pytest.param(b"bytes=-11", part(0, 10), id="14.1.2-suffix-longer-than-content"),
        pytest.param(b"bytes=5-10", part(5, 10), id="14.1.2-end-at-the-length"),
        pytest.param(b"bytes=5-999", part(5, 10), id="14.1.2-end-beyond-the-length"),
        pytest.param(b"bytes=0-" + HUGE, part(0, 10), id="14.1.2-end-2-to-the-70"),
        pytest.param(
            b"bytes=0-9223372036854775807", part(0, 10), id="14.1.2-end-2-to-the-63-less-1"
        ),
        pytest.param(b"bytes=0-9223372036854775808", part(0, 10), id="14.1.2-end-2-to-the-63"),
        pytest.param(b"bytes=-" + HUGE, part(0, 10), id="14.1.2-suffix-2-to-the-70"),
        pytest.param(b"bytes=0-" + b"9" * 5000, part(0, 10), id="14.1.2-end-of-5000-digits"),
        pytest.param(b"bytes=0000000000000000000000002-03", part(2, 4), id="14.1.2-leading-zeros"),
        pytest.param(b"bytes=00-00", part(0, 1), id="14.1.2-zeros"),
        pytest.param(b"BYTES=2-4", part(2, 5), id="14.1.1-unit-in-upper-case"),
        pytest.param(b"bytes=,2-4,", part(2, 5), id="5.6.1.2-empty-elements"),
        pytest.param(b"bytes=, ,\t2-4 ,", part(2, 5), id="5.6.1.2-empty-elements-with-space"),
        pytest.param(b"bytes=10-", UNSATISFIABLE, id="15.5.17-start-at-the-length"),
        pytest.param(b"bytes=10-20", UNSATISFIABLE, id="15.5.17-start-and-end-beyond"),
        pytest.param(b"bytes=" + HUGE + b"-", UNSATISFIABLE, id="15.5.17-start-2-to-the-70"),
        pytest.param(b"bytes=" + HUGE + b"-" + HUGE, UNSATISFIABLE, id="15.5.17-both-2-to-the-70"),
        pytest.param(b"bytes=-0", UNSATISFIABLE, id="15.5.17-empty-suffix"),
        pytest.param(b"bytes=-000", UNSATISFIABLE, id="15.5.17-empty-suffix-with-zeros"),
        pytest.param(b"bytes=9-5", WHOLE, id="14.1.1-last-before-first"),
        pytest.param(b"bytes=1-0", WHOLE, id="14.1.1-last-zero-before-first"),
        pytest.param(b"bytes=" + HUGE + b"-5", WHOLE, id="14.1.1-last-before-a-huge-first"),
        pytest.param(b"bytes=-", WHOLE, id="14.1.1-only-a-dash"),
        pytest.param(b"bytes=a-b", WHOLE, id="14.1.1-letters"),
        pytest.param(b"bytes=+1-5", WHOLE, id="14.1.1-plus-sign"),
        pytest.param(b"bytes=--5", WHOLE, id="14.1.1-two-dashes"),
        pytest.param(b"bytes=0x0-0xf", WHOLE, id="14.1.1-hexadecimal"),
        pytest.param(b"bytes=1_0-", WHOLE, id="14.1.1-underscore"),
        pytest.param(b"bytes=1 -2", WHOLE, id="14.1.1-space-inside"),
        pytest.param(b"bytes=1.0-2", WHOLE, id="14.1.1-fraction"),
        pytest.param("bytes=\u0661-".encode(), WHOLE, id="14.1.1-unicode-digit"),
        pytest.param(b"bytes=2-4\n", WHOLE, id="14.1.1-line-end"),
        pytest.param(b"bytes=2", WHOLE, id="14.1.1-no-dash"),
        pytest.param(b"bytes=", WHOLE, id="14.1.1-empty-set"),
        pytest.param(b"bytes=,", WHOLE, id="5.6.1.2-only-empty-elements"),
        pytest.param(b"bytes", WHOLE, id="14.1.1-no-equals-sign"),
        pytest.param(b"bytes =0-1", WHOLE, id="14.1.1-space-before-the-equals-sign"),
        pytest.param(b"lines=0-1", WHOLE, id="14.2-unknown-unit"),
        pytest.param(b"", WHOLE, id="14.1.1-empty"),
    ],
)
def test_of_ten_bytes(value: bytes | None, selection: Selection) -> None:
    assert select_range(value, 10, max_ranges=1) == selection
    assert select_range(value, 10, max_ranges=32) == selection


SEVERAL = [
    pytest.param(b"0-1,4-5", several((0, 2), (4, 6)), id="15.3.7.2-disjoint"),
    pytest.param(b"4-5,0-1", several((4, 6), (0, 2)), id="15.3.7.2-descending-keeps-its-order"),
    pytest.param(b"0-3,4-5", several((0, 4), (4, 6)), id="15.3.7.2-adjacent"),
    pytest.param(b"0-4,5-9", several((0, 5), (5, 10)), id="15.3.7.2-adjacent-and-all"),
    pytest.param(b"0-0,-1", several((0, 1), (9, 10)), id="15.3.7.2-first-and-last"),
    pytest.param(b"-1,0-0", several((9, 10), (0, 1)), id="15.3.7.2-suffix-first"),
    pytest.param(b"0-0,2-2,4-4", several((0, 1), (2, 3), (4, 5)), id="15.3.7.2-as-many-as-may-be"),
    pytest.param(b"0-0,2-2,4-4,6-6", WHOLE, id="17.15-one-too-many"),
    pytest.param(b"0-0,2-2,99-,99-", WHOLE, id="17.15-unsatisfiable-ones-count"),
    pytest.param(b"0-0,,2-2,,,4-4,", several((0, 1), (2, 3), (4, 5)), id="5.6.1.2-empty-do-not"),
    pytest.param(b"0-1 ,\t4-5", several((0, 2), (4, 6)), id="5.6.1.2-optional-white-space"),
    pytest.param(b"8-" + HUGE + b",0-0", several((8, 10), (0, 1)), id="14.1.2-end-2-to-the-70"),
    pytest.param(b"0-0,8-99", several((0, 1), (8, 10)), id="14.1.2-clipped"),
    pytest.param(b"0-1,99-", part(0, 2), id="15.3.7.2-one-of-two-is-satisfiable"),
    pytest.param(b"99-,-0,3-3", part(3, 4), id="15.3.7.2-one-of-three-is-satisfiable"),
    pytest.param(b"0-1,99-,4-5", several((0, 2), (4, 6)), id="15.3.7.2-two-of-three"),
    pytest.param(b"99-,10-", UNSATISFIABLE, id="15.5.17-none-is-satisfiable"),
    pytest.param(b"-0,-0", UNSATISFIABLE, id="15.5.17-empty-suffixes"),
    pytest.param(b"0-5,5-9", WHOLE, id="14.2-overlap-of-a-byte"),
    pytest.param(b"5-9,0-5", WHOLE, id="14.2-overlap-in-descending-order"),
    pytest.param(b"0-9,4-5", WHOLE, id="14.2-one-inside-the-other"),
    pytest.param(b"3-4,3-4", WHOLE, id="14.2-twice-the-same"),
    pytest.param(b"0-,0-,0-", WHOLE, id="17.15-attack-thrice-the-whole"),
    pytest.param(b"0-0,-11", WHOLE, id="14.2-overlap-with-a-clipped-suffix"),
    pytest.param(b"5-" + HUGE + b",9-", WHOLE, id="14.2-overlap-beyond-the-end"),
    pytest.param(b"0-1,a", WHOLE, id="14.1.1-one-is-malformed"),
    pytest.param(b"0-1,5-4", WHOLE, id="14.1.1-one-ends-before-it-begins"),
    pytest.param(b"99-,5-4", WHOLE, id="14.1.1-one-malformed-one-unsatisfiable"),
    pytest.param(b"0-1, bytes=4-5", WHOLE, id="14.1.1-two-field-lines-with-units"),
    pytest.param(b"0-1, 4-5", several((0, 2), (4, 6)), id="5.3-two-field-lines-joined"),
]


@pytest.mark.parametrize(("value", "selection"), SEVERAL)
def test_several_of_ten_bytes(value: bytes, selection: Selection) -> None:
    assert select_range(b"bytes=" + value, 10, max_ranges=3) == selection


def test_one_range_is_all_there_is_when_one_may_be_asked_for() -> None:
    assert select_range(b"bytes=0-1,4-5", 10, max_ranges=1) == WHOLE
    assert select_range(b"bytes=0-1,99-", 10, max_ranges=1) == WHOLE


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"bytes=" + b",".join([b"0-"] * 5000), id="17.15-whole-ranges"),
        pytest.param(b"bytes=" + b"," * 16_000 + b"0-0", id="17.15-empty-elements"),
        pytest.param(b"bytes=0-" + b"9" * 16_000, id="17.15-digits"),
        pytest.param(b"bytes=" + b"0" * 16_000 + b"-", id="17.15-zeros"),
        pytest.param(b"bytes=" + b" " * 16_000 + b"0-0 x", id="17.15-spaces"),
        pytest.param(b"bytes=" + b"0-0 \t" * 3000, id="17.15-no-commas"),
    ],
)
def test_attack_by_length_takes_no_time(value: bytes) -> None:
    begun = time.perf_counter()
    for _ in range(20):
        select_range(value, 10, max_ranges=256)
    assert time.perf_counter() - begun < 0.5


@pytest.mark.parametrize(
    ("value", "selection"),
    [
        pytest.param(b"bytes=0-0,-0", UNSATISFIABLE, id="15.5.17-several"),
        pytest.param(b"bytes=0-0,-5", WHOLE, id="14.1.2-several-and-a-suffix"),
        pytest.param(b"bytes=0-", UNSATISFIABLE, id="15.5.17-from-zero"),
        pytest.param(b"bytes=0-0", UNSATISFIABLE, id="15.5.17-first-byte"),
        pytest.param(b"bytes=-0", UNSATISFIABLE, id="15.5.17-empty-suffix"),
        pytest.param(b"bytes=-5", WHOLE, id="14.1.2-suffix"),
        pytest.param(None, WHOLE, id="14.2-no-range"),
    ],
)
def test_of_no_bytes(value: bytes | None, selection: Selection) -> None:
    assert select_range(value, 0, max_ranges=3) == selection


def test_a_range_of_an_unknown_length_gives_the_whole() -> None:
    assert select_range(b"bytes=0-1", -1) == WHOLE


def test_the_inclusive_form_is_written() -> None:
    assert content_range(2, 5, 10) == b"bytes 2-4/10"
    assert content_range(0, 1, -1) == b"bytes 0-0/*"
    assert unsatisfied_range(10) == b"bytes */10"


# The slow, obvious model: sets of offsets, and a parser by hand.


def pieces(text: str) -> Iterator[str]:
    """The elements of a list, white space and empty ones dropped (section 5.6.1.2)."""
    element = ""
    for character in text + ",":
        if character != ",":
            element += character
            continue
        while element and element[0] in " \t":
            element = element[1:]
        while element and element[-1] in " \t":
            element = element[:-1]
        if element:
            yield element
        element = ""


def number(text: str) -> int | None:
    value = 0
    for character in text:
        if character not in "0123456789":
            return None
        value = 10 * value + "0123456789".index(character)
    return value


def offsets(element: str, length: int) -> list[int] | None:
    """The offsets that one range names, in order (section 14.1.2); None: it is malformed."""
    if element.count("-") != 1:
        return None
    first, _, last = element.partition("-")
    low, high = number(first), number(last)
    if low is None or high is None or not (first or last) or (first and last and high < low):
        return None
    if not first:
        return [at for at in range(length) if at >= length - high]
    return [at for at in range(length) if at >= low and (not last or at <= high)]


def model(value: str, length: int, max_ranges: int) -> list[list[int]] | str:
    """What is sent, part by part; or "whole", or "unsatisfiable"."""
    if value[:6].lower() != "bytes=":
        return "whole"
    elements = list(pieces(value[6:]))
    if not 0 < len(elements) <= max_ranges:
        return "whole"
    named = [offsets(element, length) for element in elements]
    if None in named:
        return "whole"
    if length == 0 and any(text[0] == "-" and number(text[1:]) for text in elements):
        return "whole"  # satisfiable, but there is no byte to name
    found = [part for part in named if part]
    if not found:
        return "unsatisfiable"
    every = [at for part in found for at in part]
    return "whole" if len(every) != len(set(every)) else found


def said(selection: Selection) -> list[list[int]] | str:
    if isinstance(selection, WholeContent):
        return "whole"
    if isinstance(selection, Unsatisfiable):
        return "unsatisfiable"
    parts = selection.parts if isinstance(selection, SeveralParts) else (selection,)
    assert len(parts) > 1 or isinstance(selection, PartialContent)
    return [list(range(part.start, part.end)) for part in parts]


numbers = st.one_of(
    st.integers(0, 30), st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64, 2**70, 10**40])
)
digits = st.one_of(
    st.just(""), numbers.map(str), numbers.map(lambda n: f"000{n}"), st.sampled_from(["+1", "1_0"])
)
elements = st.one_of(
    st.tuples(digits, digits).map("-".join),
    st.tuples(st.integers(0, 20), st.integers(0, 3)).map(lambda ends: f"{ends[0]}-{sum(ends)}"),
    st.sampled_from(["", " ", "\t", "-", "--", "1", "a-b", "0x0-1", "bytes=0-1", "1 -2", "1- 2"]),
)
separators = st.sampled_from([",", ", ", " ,", ",,", "\t,\t"])
sets = st.lists(st.tuples(elements, separators), max_size=6).map(
    lambda pairs: "".join(element + separator for element, separator in pairs)
)
units = st.sampled_from(["bytes=", "BYTES=", "bytes =", "lines=", "bytes", ""])


@settings(max_examples=400)
@given(
    unit=st.just("bytes=") | units,
    range_set=sets,
    length=st.integers(0, 24),
    most=st.integers(1, 5),
)
def test_a_selection_is_that_of_the_model(
    unit: str, range_set: str, length: int, most: int
) -> None:
    value = unit + range_set
    assert said(select_range(value.encode(), length, max_ranges=most)) == model(value, length, most)
    trimmed = value.strip(" \t,")
    assert said(select_range(trimmed.encode(), length, max_ranges=most)) == model(
        trimmed, length, most
    )


@given(st.binary(max_size=40).map(lambda raw: b"bytes=" + raw), st.integers(-1, 50))
def test_no_selection_leaves_the_content(value: bytes, length: int) -> None:
    selection = select_range(value, length, max_ranges=5)
    parts = selection.parts if isinstance(selection, SeveralParts) else (selection,)
    for selected in parts:
        if isinstance(selected, PartialContent):
            assert 0 <= selected.start < selected.end <= length
