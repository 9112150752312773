"""The selected representation: what a response says about the bytes it carries.

Rules:
1. The entity-tag is strong and is the digest, so it is the same on every node and restart.
2. Field lines that never change for one stored response are rendered once, here.
3. `Repr-Digest` stands on 200 and 206 (also to HEAD), where it is of the whole representation. Not
   on 304: a sender should not repeat there what guides no cache update (RFC 9110 section 15.4.5),
   and the entity-tag is the same digest. Not on 412 and 416: their representation is an error text.
4. Bodies pass byte for byte: no Content-Encoding, also for `.crate` and `.tar.gz`.

Units: lengths in bytes (-1: not known yet), times in Unix seconds.
Runs in: worker. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from mirror.http.dates import format_http_date
from mirror.http.digest_fields import repr_digest_line
from mirror.route.policy import cache_control
from mirror.route.route import Route
from mirror.store.entry import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """`validator_lines` belong on every answer that selects it; `content_lines` and `digest_line`
    on 200 and 206."""

    etag: bytes
    length: int
    last_modified: int
    fetched_at: float
    confirmed_at: float
    fresh_until: float
    validator_lines: bytes
    content_lines: bytes
    digest_line: bytes


def describe(entry: Entry, route: Route, length: int) -> Representation:
    """Return what to say about `entry` (status 200); `length` -1 while a flight does not know."""
    etag = b'"%b"' % entry.digest.hex().encode()
    validators = b"ETag: %b\r\nCache-Control: %b\r\n" % (etag, cache_control(route))
    if entry.last_modified:
        validators += b"Last-Modified: %b\r\n" % format_http_date(entry.last_modified)
    return Representation(
        etag=etag,
        length=length,
        last_modified=entry.last_modified,
        fetched_at=entry.fetched_at,
        confirmed_at=entry.confirmed_at,
        fresh_until=entry.fresh_until,
        validator_lines=validators,
        content_lines=b"Content-Type: %b\r\nAccept-Ranges: bytes\r\n" % entry.media_type.encode(),
        digest_line=repr_digest_line(entry.digest),
    )


def describe_local(
    content: bytes, etag: bytes, media_type: bytes, cache_control: bytes
) -> Representation:
    """Return what to say about an answer made in the worker."""
    return Representation(
        etag=etag,
        length=len(content),
        last_modified=0,
        fetched_at=0.0,
        confirmed_at=0.0,
        fresh_until=0.0,
        validator_lines=b"ETag: %b\r\nCache-Control: %b\r\n" % (etag, cache_control),
        content_lines=b"Content-Type: %b\r\nAccept-Ranges: bytes\r\n" % media_type,
        digest_line=b"",
    )
