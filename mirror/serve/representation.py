"""The selected representation: what a response says about the bytes it carries.

Rules:
1. The entity-tag is strong and is the digest, so it is the same on every node and restart; that of
   the gzip variant is the digest of the content with a suffix, so that a client may name either.
2. Field lines that never change for one stored response are rendered once, here.
3. `Repr-Digest` stands on 200 and 206 (also to HEAD), where it is of the whole representation. Not
   on 304: a sender should not repeat there what guides no cache update (RFC 9110 section 15.4.5),
   and the entity-tag is the same digest. Not on 412 and 416: their representation is an error text.
4. Bodies pass byte for byte: no Content-Encoding, also for `.crate` and `.tar.gz`. Only text that
   has a stored gzip variant is answered with that; length, ranges and digest are then of the
   variant (RFC 9110 section 8.4, RFC 9530 section 3).
5. `Vary` stands on every answer that selects what may have a variant, whether it has one or not.
6. `Cache-Control` is of the representation: not on 412 and 416. A cache may store what has max-age
   whatever its status (RFC 9111 section 3), and would answer plain GETs with it for a year.

Units: lengths in bytes (-1: not known yet), times in Unix seconds.
Runs in: worker. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mirror.http.dates import format_http_date
from mirror.http.digest_fields import repr_digest_line
from mirror.route.policy import cache_control, may_vary
from mirror.route.route import Route
from mirror.store.entry import Entry

_RANGES_LINE: Final = b"Accept-Ranges: bytes\r\n"
_GZIP_LINE: Final = b"Content-Encoding: gzip\r\n"
_VARY_LINE: Final = b"Vary: Accept-Encoding\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """`validator_lines` belong on 200, 206 and 304; on 412 and 416 only `selection_lines`, which
    are part of them (rule 6). `modified_line` belongs on all of these; `digest_line` and
    `content_lines`, which begin with `type_line(media_type)`, on 200 and 206. `is_coded`: the
    content has a Content-Encoding."""

    etag: bytes
    length: int
    last_modified: int
    fetched_at: float
    confirmed_at: float
    fresh_until: float
    validator_lines: bytes
    selection_lines: bytes
    content_lines: bytes
    digest_line: bytes
    media_type: bytes
    modified_line: bytes = b""
    is_coded: bool = False


def type_line(media_type: bytes) -> bytes:
    """Return the Content-Type field line."""
    return b"Content-Type: %b\r\n" % media_type


def describe(
    entry: Entry, route: Route, length: int, *, variant: bytes | None = None
) -> Representation:
    """Return what to say about `entry` (status 200); `length` -1 while a flight does not know.

    `variant`: the digest of its gzip variant, which `length` is then of; None: the identity.
    """
    is_coded = variant is not None
    etag = b'"%b%b"' % (entry.digest.hex().encode(), b"-gzip" if is_coded else b"")
    selection = b"ETag: %b\r\n%b" % (etag, _VARY_LINE if may_vary(route) else b"")
    # What upstream says lies ahead is modified when it came (RFC 9110 section 8.8.2.1).
    last_modified = min(entry.last_modified, int(entry.fetched_at))
    modified_line = b""
    if last_modified:
        modified_line = b"Last-Modified: %b\r\n" % format_http_date(last_modified)
    media_type = entry.media_type.encode()
    return Representation(
        etag=etag,
        length=length,
        last_modified=last_modified,
        fetched_at=entry.fetched_at,
        confirmed_at=entry.confirmed_at,
        fresh_until=entry.fresh_until,
        validator_lines=selection + _control_line(cache_control(route)),
        selection_lines=selection,
        content_lines=type_line(media_type) + _RANGES_LINE + (_GZIP_LINE if is_coded else b""),
        digest_line=repr_digest_line(variant or entry.digest),
        media_type=media_type,
        modified_line=modified_line,
        is_coded=is_coded,
    )


def describe_local(
    content: bytes, etag: bytes, media_type: bytes, cache_control: bytes
) -> Representation:
    """Return what to say about an answer made in the worker."""
    selection = b"ETag: %b\r\n" % etag
    return Representation(
        etag=etag,
        length=len(content),
        last_modified=0,
        fetched_at=0.0,
        confirmed_at=0.0,
        fresh_until=0.0,
        validator_lines=selection + _control_line(cache_control),
        selection_lines=selection,
        content_lines=type_line(media_type) + _RANGES_LINE,
        digest_line=b"",
        media_type=media_type,
    )


def _control_line(directives: bytes) -> bytes:
    return b"Cache-Control: %b\r\n" % directives
