"""Preconditions: RFC 9110 section 13, evaluated for a selected representation that exists.

Rules:
1. The order is that of section 13.2.2: If-Match, else If-Unmodified-Since; then If-None-Match, else
   If-Modified-Since; If-Range last and only where a Range is considered.
2. If-Match and If-Range compare strongly, If-None-Match weakly (section 8.8.3.2).
3. This server's ETags are content digests. The gzip variant `"<sha256>-gzip"` is the same content,
   so If-None-Match takes either spelling; the strong comparisons keep them apart.
4. A malformed list of entity tags matches nothing: If-None-Match then gives the whole answer, and
   If-Match fails, which is the safe side of both.
5. A malformed date is ignored, as sections 13.1.3 and 13.1.4 demand; so is a date when the
   representation has no Last-Modified (0). An If-Range that is no validator, or a date then, fails.
6. Values are as long as a request head may be; every pattern here takes linear time.

Several field lines of one name are joined with ", " before they come here. Does not know about
methods that change something: this server has none.

Runs in: worker. Pure.
"""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass
from typing import Final

from mirror.http.dates import parse_http_date


class Verdict(enum.Enum):
    """What the preconditions say about a request."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not-modified"  # 304
    FAILED = "failed"  # 412


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The precondition fields of one request, raw; None: not sent."""

    if_match: bytes | None = None
    if_none_match: bytes | None = None
    if_modified_since: bytes | None = None
    if_unmodified_since: bytes | None = None
    if_range: bytes | None = None


UNCONDITIONAL: Final = Conditions()

# etagc allows everything visible but the quote, and obs-text; a comma is an ordinary character.
_ENTITY_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ONE_TAG: Final = re.compile(_ENTITY_TAG)
# Between two tags there is at least one comma, and any number of empty elements (5.6.1.2).
_TAG_LIST: Final = re.compile(
    rb"[ \t,]*" + _ENTITY_TAG + rb"(?:[ \t]*,[ \t,]*" + _ENTITY_TAG + rb")*[ \t,]*"
)
_SAFE_METHODS: Final = frozenset((b"GET", b"HEAD"))
_GZIP_SUFFIX: Final = b'-gzip"'


def evaluate(
    method: bytes,
    conditions: Conditions,
    etag: bytes,
    last_modified: int,
    *,
    now: float | None = None,
) -> Verdict:
    """Evaluate all preconditions but If-Range.

    `etag` is the whole strong entity tag with its quotes; `last_modified` is in Unix seconds,
    0 when unknown. `now` decides the century of two-digit years (`dates`, rule 3).
    """
    if _is_overtaken(conditions, etag, last_modified, now):
        return Verdict.FAILED
    if conditions.if_none_match is not None:
        if not _none_match_names(conditions.if_none_match, etag):
            return Verdict.PROCEED
        return Verdict.NOT_MODIFIED if method in _SAFE_METHODS else Verdict.FAILED
    if conditions.if_modified_since is None or method not in _SAFE_METHODS:
        return Verdict.PROCEED
    since = _comparable_date(conditions.if_modified_since, last_modified, now)
    is_unmodified = since is not None and last_modified <= since
    return Verdict.NOT_MODIFIED if is_unmodified else Verdict.PROCEED


def range_applies(
    if_range: bytes | None,
    etag: bytes,
    last_modified: int,
    *,
    received_at: float = math.inf,
    now: float | None = None,
) -> bool:
    """Whether a Range field may be honoured (section 13.1.5); without If-Range it may.

    `received_at`: when the stored response came. A Last-Modified is a strong validator only if it
    lies at least one second before that (section 8.8.2.2): within one second two versions can
    carry the same date.
    """
    if if_range is None:
        return True
    if _ONE_TAG.fullmatch(if_range):
        return if_range == etag and not etag.startswith(b"W/")
    date = _comparable_date(if_range, last_modified, now)
    return date is not None and date == last_modified and received_at - last_modified >= 1


def entity_tags(value: bytes) -> tuple[bytes, ...]:
    """The entity tags of a list field, with their quotes; empty when the list is malformed."""
    # Checked as a whole first: picking tags out of `"a" junk "b"` would be a guess.
    return tuple(_ONE_TAG.findall(value)) if _TAG_LIST.fullmatch(value) else ()


def _is_overtaken(
    conditions: Conditions, etag: bytes, last_modified: int, now: float | None
) -> bool:
    """If-Match, else If-Unmodified-Since: whether the client's knowledge is out of date."""
    if conditions.if_match is not None:
        wanted = conditions.if_match.strip(b" \t")
        return wanted != b"*" and (etag.startswith(b"W/") or etag not in entity_tags(wanted))
    if conditions.if_unmodified_since is None:
        return False
    since = _comparable_date(conditions.if_unmodified_since, last_modified, now)
    return since is not None and last_modified > since


def _none_match_names(value: bytes, etag: bytes) -> bool:
    if value == etag:
        return True  # what cargo sends: its own tag verbatim
    if value.strip(b" \t") == b"*":
        return True
    opaque = _opaque_of(etag)
    return any(_opaque_of(tag) == opaque for tag in entity_tags(value))


def _opaque_of(tag: bytes) -> bytes:
    """What the weak comparison looks at: without `W/`, and without the coding's suffix."""
    tag = tag.removeprefix(b"W/")
    return tag[: -len(_GZIP_SUFFIX)] + b'"' if tag.endswith(_GZIP_SUFFIX) else tag


def _comparable_date(value: bytes, last_modified: int, now: float | None) -> int | None:
    # 0 says that there is no Last-Modified: the epoch itself must not equal it.
    return parse_http_date(value, now=now) if last_modified else None
