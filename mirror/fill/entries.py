"""How a stored response is described when it is made, confirmed, or found absent.

Rules:
1. The freshness lifetime is the operator's (`[freshness]`), by the tempo of the route.
2. A confirmation changes times and validators, never the digest.
3. An absence is an entry too, short-lived, and says so (`status` 404).

Units: Unix seconds. Runs in: keeper. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mirror.config import Freshness
from mirror.http.dates import parse_http_date
from mirror.route.route import Route, Tempo
from mirror.store.entry import Entry

MAX_VALIDATOR_CHARACTERS = 512  # S3 and Fastly send 34 to 60; a longer one is not kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What an upstream response says about a representation; `length` -1: unknown."""

    etag: str
    last_modified: str
    length: int
    version: str = ""  # S3's version id

    @property
    def strong_etag(self) -> str:
        return self.etag if self.etag.startswith('"') else ""


NO_HEAD = Head(etag="", last_modified="", length=-1)


def head_of(fields: Mapping[str, str]) -> Head:
    """Read validators and length of a 200 (of a 206 the length is that of the part)."""
    length = fields.get("content-length", "")
    has_length = length.isascii() and length.isdigit() and "transfer-encoding" not in fields
    return Head(
        etag=_validator(fields.get("etag", "")),
        last_modified=_validator(fields.get("last-modified", "")),
        length=int(length) if has_length else -1,
        version=_validator(fields.get("x-amz-version-id", "")),
    )


def fresh_until(route: Route, now: float, freshness: Freshness) -> float:
    match route.tempo:
        case Tempo.FOREVER:
            return math.inf
        case Tempo.CHANNEL:
            return now + freshness.channel
        case Tempo.RUSTUP:
            return now + freshness.rustup
        case Tempo.INDEX:
            return now + freshness.index
        case Tempo.UNDATED:
            return now + freshness.undated
        case Tempo.MANIFESTS:
            return now + freshness.manifests


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryMaker:
    """Makes entries at a time; `now` is when upstream answered."""

    freshness: Freshness

    def present(
        self,
        route: Route,
        *,
        digest: bytes,
        head: Head,
        length: int,
        now: float,
        proof: str,
        voucher: str = "",
    ) -> Entry:
        return Entry(
            key=route.key,
            status=200,
            digest=digest,
            length=length,
            media_type=route.media_type,
            last_modified=parse_http_date(head.last_modified) or 0,
            upstream_etag=head.etag,
            upstream_last_modified=head.last_modified,
            fetched_at=now,
            confirmed_at=now,
            fresh_until=fresh_until(route, now, self.freshness),
            proof=proof,
            voucher=voucher,
            verified_at=now,
            upstream_version=head.version,
        )

    def absent(self, route: Route, now: float) -> Entry:
        return Entry(
            key=route.key,
            status=404,
            digest=b"",
            length=0,
            media_type=route.media_type,
            last_modified=0,
            upstream_etag="",
            upstream_last_modified="",
            fetched_at=now,
            confirmed_at=now,
            fresh_until=now + self.freshness.negative,
            proof="absent",
        )

    def confirmed(self, entry: Entry, route: Route, now: float, head: Head = NO_HEAD) -> Entry:
        """The same representation, vouched for again; a 304 may bring other validators."""
        return replace(
            entry,
            confirmed_at=now,
            fresh_until=fresh_until(route, now, self.freshness),
            upstream_etag=head.etag or entry.upstream_etag,
            upstream_last_modified=head.last_modified or entry.upstream_last_modified,
            upstream_version=head.version or entry.upstream_version,
        )

    def suspect(self, entry: Entry) -> Entry:
        """The same entry, to be asked about before it is used again."""
        return replace(entry, fresh_until=0.0)


def _validator(value: str) -> str:
    """What may be sent back in a request: printable ASCII of sane length, else nothing."""
    text = value.strip()
    is_sane = len(text) <= MAX_VALIDATOR_CHARACTERS and text.isascii() and text.isprintable()
    return text if is_sane else ""
