"""Range requests: RFC 9110 section 14, for ranges of bytes.

Rules:
1. Half-open `[start, end)` everywhere; the inclusive form of the wire exists only in this file.
2. What section 14.2 lets a server ignore is ignored, and gives the whole content: an unknown unit,
   a malformed set, more ranges than `max_ranges`, and ranges that overlap.
3. Ranges that do not overlap are together at most the content: no set makes a server send more
   than the content and what stands between the parts. Their order is the request's.
4. Of several ranges those that are unsatisfiable are left out. One that remains is answered like a
   single one: section 15.3.7.2 permits that, it is the smaller message, and who reads several parts
   reads one.
5. 416 is for a well-formed set of which no range has a byte in common with the content.
6. Numbers of any size are exact: no overflow, and no quadratic `int()` of a long digit string.

Units: bytes. Does not know the method (only GET takes a Range) nor If-Range
(`http.conditions.range_applies`).

Runs in: worker. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final


@dataclass(frozen=True, slots=True)
class WholeContent:
    """Answer 200 with everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialContent:
    """Answer 206 with `[start, end)`, which is never empty."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeveralParts:
    """Answer 206 with each of `parts`, in this order; at least two, which do not overlap."""

    parts: tuple[PartialContent, ...]


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Answer 416 with `unsatisfied_range`."""


_Single = WholeContent | PartialContent | Unsatisfiable
Selection = _Single | SeveralParts

_WHOLE: Final = WholeContent()
_UNSATISFIABLE: Final = Unsatisfiable()

_UNIT: Final = b"bytes="
# Not `int()` on whatever stands there: it takes signs, underscores, spaces and other digits.
_RANGE: Final = re.compile(rb"([0-9]*)-([0-9]*)")
# More digits than any length has; longer numbers are compared as text and clipped.
_EXACT_DIGITS: Final = 19


def select_range(value: bytes | None, length: int, *, max_ranges: int = 1) -> Selection:
    """Choose what of a representation of `length` bytes a Range field asks for.

    A negative `length` means that the complete length is not known yet: the whole is sent. More
    than `max_ranges` ranges are ignored together, unsatisfiable ones counted.
    """
    if value is None or length < 0 or value[: len(_UNIT)].lower() != _UNIT:
        return _WHOLE
    elements = [element.strip(b" \t") for element in value[len(_UNIT) :].split(b",")]
    ranges = [element for element in elements if element]  # empty elements: section 5.6.1.2
    if not 1 <= len(ranges) <= max_ranges:
        return _WHOLE
    parts: list[PartialContent] = []
    for text in ranges:
        selected = _select_one(text, length)
        if isinstance(selected, WholeContent):
            return _WHOLE
        if isinstance(selected, PartialContent):
            parts.append(selected)
    if not parts:
        return _UNSATISFIABLE
    if len(parts) == 1:
        return parts[0]
    return _WHOLE if _has_overlap(parts) else SeveralParts(parts=tuple(parts))


def content_range(start: int, end: int, length: int) -> bytes:
    """The Content-Range value of a 206 for `[start, end)`; a negative `length` is unknown."""
    return b"bytes %d-%d/%b" % (start, end - 1, b"*" if length < 0 else b"%d" % length)


def unsatisfied_range(length: int) -> bytes:
    """The Content-Range value of a 416."""
    return b"bytes */%d" % length


def _select_one(text: bytes, length: int) -> _Single:
    """One range of the set; the whole when it makes the set one to ignore."""
    found = _RANGE.fullmatch(text)
    if found is None:
        return _WHOLE
    first, last = found[1], found[2]
    if first:
        return _select_from(first, last, length)
    return _select_suffix(last, length) if last else _WHOLE


def _select_from(first: bytes, last: bytes, length: int) -> _Single:
    """`first-last` and `first-`."""
    first, last = first.lstrip(b"0"), last and (last.lstrip(b"0") or b"0")
    if last and _order(last) < _order(first or b"0"):
        return _WHOLE  # last before first is malformed (section 14.1.1), not unsatisfiable
    start = _clipped(first, length)
    if start >= length:
        return _UNSATISFIABLE
    end = min(_clipped(last, length) + 1, length) if last else length
    return PartialContent(start=start, end=end)


def _select_suffix(suffix: bytes, length: int) -> _Single:
    """`-suffix`: the last so many bytes."""
    suffix = suffix.lstrip(b"0")
    if not suffix:
        return _UNSATISFIABLE
    if length == 0:
        # Satisfiable by the letter of section 14.1.2, but no Content-Range can name no bytes.
        return _WHOLE
    return PartialContent(start=length - _clipped(suffix, length), end=length)


def _has_overlap(parts: list[PartialContent]) -> bool:
    """Whether two of `parts` share a byte."""
    ordered = sorted((part.start, part.end) for part in parts)
    return any(end > start for (_, end), (start, _) in pairwise(ordered))


def _order(digits: bytes) -> tuple[int, bytes]:
    """Digits without leading zeros sort as numbers: by their count, then as text."""
    return len(digits), digits


def _clipped(digits: bytes, length: int) -> int:
    """The number, or `length` where it is greater."""
    return length if len(digits) > _EXACT_DIGITS else min(int(digits or b"0"), length)
