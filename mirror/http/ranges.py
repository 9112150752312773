"""Range requests: RFC 9110 section 14, for one range of bytes.

Rules:
1. Half-open `[start, end)` everywhere; the inclusive form of the wire exists only in this file.
2. What section 14.2 lets a server ignore is ignored: an unknown unit, a malformed set and more than
   one range all give the whole content. Several ranges could only multiply what is sent.
3. 416 is for a well-formed range that has no byte in common with the content.
4. Numbers of any size are exact: no overflow, and no quadratic `int()` of a long digit string.

Units: bytes. Does not know the method (only GET takes a Range) nor If-Range
(`http.conditions.range_applies`).

Runs in: worker. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class WholeContent:
    """Answer 200 with everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialContent:
    """Answer 206 with `[start, end)`, which is never empty."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Answer 416 with `unsatisfied_range`."""


Selection = WholeContent | PartialContent | Unsatisfiable

_WHOLE: Final = WholeContent()
_UNSATISFIABLE: Final = Unsatisfiable()

_UNIT: Final = b"bytes="
# Not `int()` on whatever stands there: it takes signs, underscores, spaces and other digits.
_RANGE: Final = re.compile(rb"([0-9]*)-([0-9]*)")
# More digits than any length has; longer numbers are compared as text and clipped.
_EXACT_DIGITS: Final = 19


def select_range(value: bytes | None, length: int) -> Selection:
    """Choose what of a representation of `length` bytes a Range field asks for.

    A negative `length` means that the complete length is not known yet: the whole is sent.
    """
    if value is None or length < 0 or value[: len(_UNIT)].lower() != _UNIT:
        return _WHOLE
    elements = [element.strip(b" \t") for element in value[len(_UNIT) :].split(b",")]
    ranges = [element for element in elements if element]  # empty elements: section 5.6.1.2
    found = _RANGE.fullmatch(ranges[0]) if len(ranges) == 1 else None
    if found is None:
        return _WHOLE
    first, last = found[1], found[2]
    if first:
        return _select_from(first, last, length)
    return _select_suffix(last, length) if last else _WHOLE


def content_range(start: int, end: int, length: int) -> bytes:
    """The Content-Range value of a 206 for `[start, end)`; a negative `length` is unknown."""
    return b"bytes %d-%d/%b" % (start, end - 1, b"*" if length < 0 else b"%d" % length)


def unsatisfied_range(length: int) -> bytes:
    """The Content-Range value of a 416."""
    return b"bytes */%d" % length


def _select_from(first: bytes, last: bytes, length: int) -> Selection:
    """`first-last` and `first-`."""
    first, last = first.lstrip(b"0"), last and (last.lstrip(b"0") or b"0")
    if last and _order(last) < _order(first or b"0"):
        return _WHOLE  # last before first is malformed (section 14.1.1), not unsatisfiable
    start = _clipped(first, length)
    if start >= length:
        return _UNSATISFIABLE
    end = min(_clipped(last, length) + 1, length) if last else length
    return PartialContent(start=start, end=end)


def _select_suffix(suffix: bytes, length: int) -> Selection:
    """`-suffix`: the last so many bytes."""
    suffix = suffix.lstrip(b"0")
    if not suffix:
        return _UNSATISFIABLE
    if length == 0:
        # Satisfiable by the letter of section 14.1.2, but no Content-Range can name no bytes.
        return _WHOLE
    return PartialContent(start=length - _clipped(suffix, length), end=length)


def _order(digits: bytes) -> tuple[int, bytes]:
    """Digits without leading zeros sort as numbers: by their count, then as text."""
    return len(digits), digits


def _clipped(digits: bytes, length: int) -> int:
    """The number, or `length` where it is greater."""
    return length if len(digits) > _EXACT_DIGITS else min(int(digits or b"0"), length)
