"""From a request and a selected representation to a response plan.

Rules:
1. Preconditions first (RFC 9110 section 13.2.2), then ranges (section 14); a range only on GET,
   only while If-Range agrees, only when the complete length is known.
2. The plan names one half-open segment: of the representation, or of the message that is laid out
   in `parts`. The sender needs nothing else; what it sends from is `plan.content_of` of content in
   memory, or `multipart_source.present` of a source.
3. With an unknown length there are no ranges; for HTTP/1.0 it is misuse to ask (the caller waits
   until the length is known).
4. Last-Modified is never later than Date (section 8.8.2.1): while the clock says that it would be,
   it is left out.
5. Content-Type and Repr-Digest stand on a 206 also when the request has If-Range. Section 15.3.7
   advises against; a client that joins parts can check them by it, and there is one head to test.

Units: bytes, half-open offsets, Unix seconds.
Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mirror.http.conditions import Verdict, evaluate, range_applies
from mirror.http.dates import format_http_date
from mirror.http.digest_fields import content_digest_line
from mirror.http.freshness import age_s
from mirror.http.multipart import Multipart, boundary_of, lay_out, multipart_type
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
from mirror.serve.head import Head, make_head
from mirror.serve.representation import Representation, type_line
from mirror.serve.request import Request

_WHOLE: Final = WholeContent()
_UNSATISFIABLE_TEXT: Final = b"The range lies outside the representation.\n"
_FAILED_TEXT: Final = b"A precondition of the request does not hold.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeRules:
    """How many ranges of one request are answered, and what makes a worker's boundaries."""

    max_ranges: int
    boundary_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsePlan:
    """`text` is content made here; else `[start, end)` of the representation follows, or of the
    message that `parts` lays out. `end` -1: to an end that is not known yet."""

    status: int
    head: Head
    text: bytes = b""
    start: int = 0
    end: int = 0
    parts: Multipart | None = None

    @property
    def has_segment(self) -> bool:
        return self.end != self.start

    @property
    def is_endless(self) -> bool:
        """Whether the length of the content is not known yet."""
        return self.end < 0

    @property
    def content_bytes(self) -> int:
        """How much content follows the head; -1: not known yet."""
        return -1 if self.end < 0 else self.end - self.start

    @property
    def first_byte_at(self) -> int:
        """Where the sender comes to the first byte of the representation."""
        return self.start if self.parts is None else self.parts.offsets[1]

    def is_part_of(self, length: int) -> bool:
        """Whether this sends less than all of a representation of `length` bytes."""
        if self.parts is not None:
            return sum(part.end - part.start for part in self.parts.parts) != length
        return self.status == 206 and self.content_bytes != length

    def reach(self, available_from: Callable[[int], int]) -> int:
        """Return how far the sender may go while a part of the representation is missing.

        `available_from`: see `Multipart.reach`.
        """
        if self.parts is not None:
            return self.parts.reach(available_from)
        available = available_from(self.start)
        return available if self.is_endless else min(available, self.end)

    def given(self, at: int) -> int:
        """Return up to which offset of the representation a sender at `at` gave bytes out."""
        return at if self.parts is None else self.parts.given(at)

    def content_of(self, representation: bytes) -> bytes:
        """Return the content that follows the head, of a representation in memory."""
        if not self.has_segment:
            return self.text
        if self.parts is not None:
            return self.parts.join(representation)
        return representation[self.start : self.end]


def build(
    request: Request,
    representation: Representation,
    *,
    now: float,
    cache_status: bytes,
    rules: RangeRules,
) -> ResponsePlan:
    """Return what to answer when `representation` is selected (RFC 9110 status 200 otherwise)."""
    shared = shared_lines(representation, now, cache_status)
    date = format_http_date(int(now))
    verdict = evaluate(
        request.method,
        request.conditions,
        representation.etag,
        representation.last_modified,
        now=now,
    )
    if verdict is Verdict.NOT_MODIFIED:
        return ResponsePlan(status=304, head=make_head(304, date, shared))
    if verdict is Verdict.FAILED:
        lines = _error_lines(representation, now, cache_status)
        return _text_plan(request, 412, date, lines, _FAILED_TEXT)
    selected = _select(request, representation, now, rules)
    if isinstance(selected, Unsatisfiable):
        lines = b"Content-Range: %b\r\n%b" % (
            unsatisfied_range(representation.length),
            _error_lines(representation, now, cache_status),
        )
        return _text_plan(request, 416, date, lines, _UNSATISFIABLE_TEXT)
    if not isinstance(selected, WholeContent):
        if request.wants_digest:
            shared = representation.digest_line + shared
        if isinstance(selected, SeveralParts):
            return _several_plan(selected, representation, date, shared, rules)
        return _part_plan(selected, representation, date, shared)
    lines = whole_lines(representation, now, cache_status, with_digest=request.wants_digest)
    if request.wants_content_digest and not request.is_head:
        lines += content_digest_line(representation.digest_line)
    head = make_head(200, date, lines)
    end = 0 if request.is_head else representation.length
    return ResponsePlan(status=200, head=head, end=end)


def whole_lines(
    representation: Representation, now: float, cache_status: bytes, *, with_digest: bool = True
) -> bytes:
    """Return the field lines of a 200 but Date, Via and Connection."""
    lasting = lasting_lines(representation, with_digest=with_digest)
    return lasting + shared_lines(representation, now, cache_status)


def lasting_lines(representation: Representation, *, with_digest: bool = True) -> bytes:
    """Return what stands on a 200 before `shared_lines`, whatever the time."""
    framing = b""
    if representation.length >= 0:
        framing = b"Content-Length: %d\r\n" % representation.length
    digest = representation.digest_line if with_digest else b""
    return b"%b%b%b" % (framing, representation.content_lines, digest)


def shared_lines(representation: Representation, now: float, cache_status: bytes) -> bytes:
    """Validators, Cache-Control, Age and Cache-Status."""
    return steady_lines(representation, now) + _state_lines(representation, now, cache_status)


def steady_lines(representation: Representation, now: float) -> bytes:
    """The first of `shared_lines`: the same for as long as nobody asks upstream."""
    return representation.validator_lines + _modified_line(representation, now)


def state_lines(age: int, cache_status: bytes) -> bytes:
    """The rest of `shared_lines`, which is of a second."""
    return b"Age: %d\r\nCache-Status: %b\r\n" % (age, cache_status)


def _state_lines(representation: Representation, now: float, cache_status: bytes) -> bytes:
    """What is made here has neither Age nor Cache-Status."""
    if not cache_status:
        return b""
    return state_lines(age_s(representation.confirmed_at, now), cache_status)


def _modified_line(representation: Representation, now: float) -> bytes:
    return representation.modified_line if representation.last_modified <= now else b""


def _error_lines(representation: Representation, now: float, cache_status: bytes) -> bytes:
    """As `shared_lines`, for 412 and 416: without the representation's Cache-Control."""
    selection = representation.selection_lines + _modified_line(representation, now)
    return selection + _state_lines(representation, now, cache_status)


def _select(
    request: Request, representation: Representation, now: float, rules: RangeRules
) -> Selection:
    """What of the representation the request is answered with."""
    if request.range is None or request.is_head or representation.length < 0:
        return _WHOLE
    if not range_applies(
        request.conditions.if_range,
        representation.etag,
        representation.last_modified,
        received_at=representation.fetched_at,
        now=now,
    ):
        return _WHOLE
    # A Content-Encoding beside multipart/byteranges would read as one of the message.
    max_ranges = 1 if representation.is_coded else rules.max_ranges
    return select_range(request.range, representation.length, max_ranges=max_ranges)


def _part_plan(
    part: PartialContent, representation: Representation, date: bytes, shared: bytes
) -> ResponsePlan:
    lines = b"Content-Length: %d\r\nContent-Range: %b\r\n%b%b" % (
        part.end - part.start,
        content_range(part.start, part.end, representation.length),
        representation.content_lines,
        shared,
    )
    head = make_head(206, date, lines)
    return ResponsePlan(status=206, head=head, start=part.start, end=part.end)


def _several_plan(
    selected: SeveralParts,
    representation: Representation,
    date: bytes,
    shared: bytes,
    rules: RangeRules,
) -> ResponsePlan:
    boundary = boundary_of(rules.boundary_key, representation.etag, selected.parts)
    parts = lay_out(selected.parts, representation.length, representation.media_type, boundary)
    # Content-Range stands in the parts only (section 15.3.7.2).
    lines = b"Content-Length: %d\r\nContent-Type: %b\r\n%b%b" % (
        parts.length,
        multipart_type(boundary),
        representation.content_lines.removeprefix(type_line(representation.media_type)),
        shared,
    )
    head = make_head(206, date, lines)
    return ResponsePlan(status=206, head=head, end=parts.length, parts=parts)


def _text_plan(
    request: Request, status: int, date: bytes, lines: bytes, text: bytes
) -> ResponsePlan:
    lines = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%b" % (
        len(text),
        lines,
    )
    head = make_head(status, date, lines)
    return ResponsePlan(status=status, head=head, text=b"" if request.is_head else text)
