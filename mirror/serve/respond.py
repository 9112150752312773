"""From a request and a selected representation to a response plan.

Rules:
1. Preconditions first (RFC 9110 section 13.2.2), then ranges (section 14); a range only on GET,
   only while If-Range agrees, only when the complete length is known.
2. The plan names one half-open segment of the representation; the sender needs nothing else.
3. With an unknown length there are no ranges; for HTTP/1.0 it is misuse to ask (the caller waits
   until the length is known).

Units: bytes, half-open offsets, Unix seconds.
Runs in: worker. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mirror.http.conditions import Verdict, evaluate, range_applies
from mirror.http.dates import format_http_date
from mirror.http.freshness import age_s
from mirror.http.ranges import (
    PartialContent,
    Unsatisfiable,
    content_range,
    select_range,
    unsatisfied_range,
)
from mirror.serve.head import Head, make_head
from mirror.serve.representation import Representation
from mirror.serve.request import Request

_UNSATISFIABLE_TEXT: Final = b"The range lies outside the representation.\n"
_FAILED_TEXT: Final = b"A precondition of the request does not hold.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsePlan:
    """`text` is content made here; else `[start, end)` of the representation follows. `end` -1: to
    an end that is not known yet."""

    status: int
    head: Head
    text: bytes = b""
    start: int = 0
    end: int = 0

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


def build(
    request: Request,
    representation: Representation,
    *,
    now: float,
    cache_status: bytes,
) -> ResponsePlan:
    """Return what to answer when `representation` is selected (RFC 9110 status 200 otherwise)."""
    shared = shared_lines(representation, now, cache_status)
    date = format_http_date(int(now))
    verdict = evaluate(
        request.method, request.conditions, representation.etag, representation.last_modified
    )
    if verdict is Verdict.NOT_MODIFIED:
        return ResponsePlan(status=304, head=make_head(304, date, shared))
    if verdict is Verdict.FAILED:
        return _text_plan(request, 412, date, shared, _FAILED_TEXT)
    length = representation.length
    if length >= 0 and request.range is not None and not request.is_head:
        partial = _partial(request, representation)
        if isinstance(partial, Unsatisfiable):
            lines = b"Content-Range: %b\r\n%b" % (unsatisfied_range(length), shared)
            return _text_plan(request, 416, date, lines, _UNSATISFIABLE_TEXT)
        if partial is not None:
            lines = b"Content-Length: %d\r\nContent-Range: %b\r\n%b%b%b" % (
                partial.end - partial.start,
                content_range(partial.start, partial.end, length),
                representation.content_lines,
                representation.digest_line if request.wants_digest else b"",
                shared,
            )
            head = make_head(206, date, lines)
            return ResponsePlan(status=206, head=head, start=partial.start, end=partial.end)
    lines = whole_lines(representation, now, cache_status, with_digest=request.wants_digest)
    head = make_head(200, date, lines)
    return ResponsePlan(status=200, head=head, end=0 if request.is_head else length)


def whole_lines(
    representation: Representation, now: float, cache_status: bytes, *, with_digest: bool = True
) -> bytes:
    """Return the field lines of a 200 but Date, Via and Connection."""
    framing = b""
    if representation.length >= 0:
        framing = b"Content-Length: %d\r\n" % representation.length
    return b"%b%b%b%b" % (
        framing,
        representation.content_lines,
        representation.digest_line if with_digest else b"",
        shared_lines(representation, now, cache_status),
    )


def shared_lines(representation: Representation, now: float, cache_status: bytes) -> bytes:
    """Validators, Age and Cache-Status; what is made here has neither of the last two."""
    if not cache_status:
        return representation.validator_lines
    return b"%bAge: %d\r\nCache-Status: %b\r\n" % (
        representation.validator_lines,
        age_s(representation.confirmed_at, now),
        cache_status,
    )


def _partial(
    request: Request, representation: Representation
) -> PartialContent | Unsatisfiable | None:
    """The range to answer with, or None for the whole representation."""
    if not range_applies(
        request.conditions.if_range,
        representation.etag,
        representation.last_modified,
        received_at=representation.fetched_at,
    ):
        return None
    selected = select_range(request.range, representation.length)
    return selected if isinstance(selected, PartialContent | Unsatisfiable) else None


def _text_plan(
    request: Request, status: int, date: bytes, lines: bytes, text: bytes
) -> ResponsePlan:
    lines = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%b" % (
        len(text),
        lines,
    )
    head = make_head(status, date, lines)
    return ResponsePlan(status=status, head=head, text=b"" if request.is_head else text)
