"""One object explained: is it stored, what vouches for it, and what would a request get now?

Rules:
1. The answer to "hit or miss?" is `fill.plan`'s own, with the rules in force: the same function
   decides for the workers.
2. Nothing is asked of upstream and nothing changes by looking.
3. What an operator has at hand is understood: a key, a path, or a URL of this mirror or upstream.

Units: `_s` seconds, `_at` Unix seconds, `_bytes` bytes.
Runs in: keeper.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from mirror.config import Config
from mirror.control.overview import FillsView, fill_entry
from mirror.fill.plan import (
    Absent,
    CratePatience,
    Decision,
    FreshnessRules,
    Serve,
    decide,
    decide_crate,
)
from mirror.http.freshness import believed
from mirror.route.crates import crate_of
from mirror.route.match import match, route_of_key, site_of_host
from mirror.route.policy import has_partner, requirement
from mirror.route.route import Kind, LocalRoute, Refusal, Route
from mirror.route.sparse_index import index_route
from mirror.store.entry import Stored
from mirror.store.quarantine import QuarantineSummary
from mirror.store.reader import BlobChanged, BlobFile, BlobMissing

MAX_ASKED: Final = 2048  # as `serve.max_target`
SHOWN_EVENTS: Final = 20


class StoreLook(Protocol):
    """The store's reader."""

    def lookup(self, key: str) -> Stored | None: ...

    def open_blob(self, stored: Stored) -> BlobFile | BlobMissing | BlobChanged: ...


class QuarantineView(Protocol):
    def summary(self) -> QuarantineSummary: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSource:
    """Where the parts come from."""

    config: Config
    reader: StoreLook
    fills: FillsView
    quarantine: QuarantineView


class NoObjectError(ValueError):
    """What was asked for is no object's name; the text says why."""


def find_route(asked: str) -> Route:
    """Return the object that a key, a path or a URL names. Raises NoObjectError."""
    text = asked.strip()
    if not text:
        raise NoObjectError("Name an object: its key, its path or its URL.")
    if len(text) > MAX_ASKED or not text.isascii():
        raise NoObjectError("No object has such a name.")
    route = route_of_key(text)
    if route is not None:
        return route
    try:
        url = urlsplit(text)
        host = (url.hostname or "").lower()
    except ValueError as exc:
        raise NoObjectError("That is neither a key, a path nor a URL.") from exc
    matched = match(url.path.encode("ascii"), site_of_host(host))
    if isinstance(matched, Refusal):
        raise NoObjectError(matched.reason)
    if isinstance(matched, LocalRoute):
        raise NoObjectError("The mirror makes that answer itself; nothing is stored for it.")
    return matched


def explain(
    route: Route,
    source: ObjectSource,
    *,
    now: float,
    now_s: float,
) -> dict[str, Any]:
    """Return what is known of the object; `now_s` of the monotonic clock. Runs on the loop."""
    stored = source.reader.lookup(route.key)
    decision = _decide(route, stored, source, now)
    file = None if stored is None or stored.entry.status != 200 else _file(source, stored)
    flights = [fill for fill in source.fills.flights if route.key in fill.keys]
    return {
        "key": route.key,
        "path": route.path,
        "kind": route.kind.value,
        "class": route.content_class.value,
        "upstream": route.upstream.value,
        "tempo": route.tempo.value,
        "required": requirement(route.kind).value,
        "now_at": round(now, 3),
        "verdict": _verdict(decision, stored, file, is_filling=bool(flights)),
        "stored": None if stored is None else _stored(stored, now, file),
        "flight": fill_entry(flights[0], now_s) if flights else None,
        "listing": _listing(route, source),
        "quarantine": _quarantined(route.key, source.quarantine.summary()),
    }


def _decide(route: Route, stored: Stored | None, source: ObjectSource, now: float) -> Decision:
    freshness = source.config.freshness
    wait_s = 0.0 if has_partner(route.kind) else float(freshness.stale_while_revalidate)
    rules = FreshnessRules(
        revalidate_s=wait_s,
        error_s=float(freshness.stale_if_error),
        client_floor_s=float(freshness.client_floor),
    )
    decision = decide(stored, now, claim=route.claim, rules=rules)
    if route.kind is not Kind.CRATE or stored is None:
        return decision
    listing = _listing_entry(route, source)
    listed_at = 0.0 if listing is None else listing.entry.confirmed_at
    vouched_at = max(believed(stored.entry.confirmed_at, now), believed(listed_at, now))
    patience = CratePatience(
        check_s=float(freshness.crate_check), wait_s=float(freshness.crate_wait)
    )
    return decide_crate(decision, patience, vouched_at=vouched_at, now=now)


def _verdict(
    decision: Decision, stored: Stored | None, file: str | None, *, is_filling: bool
) -> dict[str, str]:
    """Return the word of the ledger and a sentence for a plain GET at this moment."""
    word, sentence = _explained(decision, stored, file, is_filling=is_filling)
    return {"word": word, "sentence": sentence, "cache_status": decision.outcome}


def _explained(
    decision: Decision, stored: Stored | None, file: str | None, *, is_filling: bool
) -> tuple[str, str]:
    if isinstance(decision, Absent):
        return "negative", "Upstream said lately that there is no such object: 404 from memory."
    if stored is None:
        if is_filling:
            return "collapsed", "It is being filled: a request joins that fill."
        return "miss", "It is not stored: a request makes the mirror fetch and check it."
    if file == "missing":
        return "miss", "It was evicted: a request makes the mirror fetch and check it again."
    if file == "changed":
        return "miss", "Its file was touched: it is hashed again before anybody gets it."
    if isinstance(decision, Serve):
        if decision.revalidate:
            return "hit", "It is served from disk while upstream is asked behind the answer."
        if decision.check:
            return "hit", "It is served from disk; whether the index still lists it is checked."
        return "hit", "It is stored and fresh: it is served from disk, upstream hears nothing."
    if stored.entry.status != 200:
        return "miss", "Its absence was remembered for too long: upstream is asked again."
    return "revalidated", (
        "It is stored and its freshness has ended: upstream is asked first, and while upstream is "
        "away the stored copy is served."
    )


def _stored(stored: Stored, now: float, file: str | None) -> dict[str, Any]:
    entry = stored.entry
    until_at = None if math.isinf(entry.fresh_until) else entry.fresh_until
    return {
        "status": entry.status,
        "digest": entry.digest.hex(),
        "length_bytes": entry.length,
        "media_type": entry.media_type,
        "file": file,
        "fetched_at": entry.fetched_at,
        "confirmed_at": entry.confirmed_at,
        "verified_at": entry.verified_at or None,
        "fresh_until_at": until_at,
        "is_fresh": until_at is None or now < until_at,
        "last_modified": entry.upstream_last_modified,
        "proof": entry.proof,
        "voucher": entry.voucher,
        "upstream_etag": entry.upstream_etag,
        "upstream_version": entry.upstream_version,
    }


def _file(source: ObjectSource, stored: Stored) -> str:
    opened = source.reader.open_blob(stored)
    if isinstance(opened, BlobFile):
        os.close(opened.fd)
        return "intact"
    return "missing" if isinstance(opened, BlobMissing) else "changed"


def _listing_entry(route: Route, source: ObjectSource) -> Stored | None:
    """Return the index file that lists a crate."""
    crate = crate_of(route)
    index = None if crate is None else index_route(crate.name)
    stored = None if index is None else source.reader.lookup(index.key)
    return stored if stored is not None and stored.entry.status == 200 else None


def _listing(route: Route, source: ObjectSource) -> dict[str, Any] | None:
    stored = _listing_entry(route, source)
    if stored is None:
        return None
    return {"key": stored.entry.key, "confirmed_at": stored.entry.confirmed_at}


def _quarantined(key: str, summary: QuarantineSummary) -> list[dict[str, Any]]:
    return [
        {
            "reason": reason.reason,
            "expected": reason.expected,
            "got": reason.got,
            "size_bytes": reason.length,
            "taken_at": reason.at,
        }
        for reason in summary.newest
        if key in reason.keys
    ]


def events_about(key: str, events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the events that name the key, newest first, of `events` in their order."""
    found = [
        dict(event)
        for event in events
        if key in (event.get("key"), event.get("path")) or key in _keys(event)
    ]
    return found[: -SHOWN_EVENTS - 1 : -1]


def _keys(event: Mapping[str, Any]) -> tuple[object, ...]:
    keys = event.get("keys")
    return tuple(keys) if isinstance(keys, list) else ()
