"""What to do with a request, given what the store knows: serve, answer "absent", or ask the keeper.

Rules:
1. A fresh stored response is served without a word to the keeper.
2. A stale one is asked about; the keeper answers it stale when upstream is away, never the worker.
3. A stale absence is fetched anew: an upstream failure never becomes a 404, so it cannot be kept.
4. A client's claim is compared, never trusted: against a fresh stored response here (unequal: 404
   without a fetch), else by the keeper against the index.
5. GET and HEAD are decided alike; no other method comes here.

Units: `now` is Unix time.
Does not: look at the file (its absence or change is found when it is opened; see `BLOB_GONE`).
Runs in: worker. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mirror.fill.messages import Purpose
from mirror.http import cache_status, freshness
from mirror.http.cache_status import Forward
from mirror.store.entry import Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """The stored response is fresh; `ttl_s` None: it never becomes stale."""

    stored: Stored
    ttl_s: int | None

    @property
    def outcome(self) -> str:
        return cache_status.hit(ttl_s=self.ttl_s)


class AbsentReason(enum.Enum):
    """Why the answer is 404 without asking; the value goes into Cache-Status."""

    REMEMBERED = ""  # an upstream said so lately
    CLAIM = "claimed digest differs"  # the client named content that this crate does not have


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """The answer is 404; `ttl_s` as in `Serve`."""

    stored: Stored
    reason: AbsentReason
    ttl_s: int | None

    @property
    def outcome(self) -> str:
        return cache_status.hit(ttl_s=self.ttl_s, detail=self.reason.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskKeeper:
    """`forward` is the RFC 9211 word for the access log and, if the keeper is away, the answer."""

    purpose: Purpose
    forward: Forward

    @property
    def outcome(self) -> str:
        return cache_status.forwarded(self.forward)


Decision = Serve | Absent | AskKeeper

NOTHING_STORED = AskKeeper(purpose=Purpose.FETCH, forward=Forward.URI_MISS)
STALE = AskKeeper(purpose=Purpose.REVALIDATE, forward=Forward.STALE)
STALE_ABSENCE = AskKeeper(purpose=Purpose.FETCH, forward=Forward.STALE)
# The entry is there and its file is not: evicted between the two looks.
BLOB_GONE = AskKeeper(purpose=Purpose.FETCH, forward=Forward.MISS)
# The file is there and is not the attested one: the keeper hashes it before anybody serves it.
BLOB_CHANGED = AskKeeper(purpose=Purpose.ATTEST, forward=Forward.MISS)


def decide(stored: Stored | None, now: float, *, claim: bytes = b"") -> Decision:
    """Return what to do; `claim` is the digest from the request's path (32 bytes) or b""."""
    if stored is None:
        return NOTHING_STORED
    entry = stored.entry
    if not freshness.is_fresh(entry.fresh_until, now):
        return STALE if entry.status == 200 else STALE_ABSENCE
    ttl_s = freshness.ttl_s(entry.fresh_until, now)
    if entry.status != 200:
        return Absent(stored=stored, reason=AbsentReason.REMEMBERED, ttl_s=ttl_s)
    if claim and claim != entry.digest:
        return Absent(stored=stored, reason=AbsentReason.CLAIM, ttl_s=ttl_s)
    return Serve(stored=stored, ttl_s=ttl_s)
