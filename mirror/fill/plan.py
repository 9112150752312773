"""What to do with a request, given what the store knows: serve, answer "absent", or ask the keeper.

Rules:
1. A fresh stored response is served without a word to the keeper.
2. A stale one is asked about; the keeper answers it stale when upstream is away, never the worker.
3. A stale absence is fetched anew: an upstream failure never becomes a 404, so it cannot be kept.
4. A client's claim is compared, never trusted: against a fresh stored response here (unequal: 404
   without a fetch), else by the keeper against the index.
5. GET and HEAD are decided alike; no other method comes here.
6. The bytes of a crate never become stale, but its index may stop listing it: a hit whose index
   entry was confirmed more than `check_s` ago is served and checked behind it, after more than
   `wait_s` it waits for the check.
7. A file of a client's running sequence comes from the generation of that sequence, fresh or not.

Units: `now` and `vouched_at` are Unix times.
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
    """The stored response is to be served; `ttl_s` None: it never becomes stale.

    `check`: its index entry wants a confirmation, which this answer does not wait for.
    """

    stored: Stored
    ttl_s: int | None
    check: bool = False

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
# A crate whose bytes are right; whether its index still lists it was asked too long ago.
UNCONFIRMED = AskKeeper(purpose=Purpose.REVALIDATE, forward=Forward.STALE)
# What is stored is of another generation than what this client got a moment ago.
OTHER_GENERATION = AskKeeper(purpose=Purpose.REVALIDATE, forward=Forward.MISS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CratePatience:
    """How long a confirmation of a crate's index entry is good for, in seconds."""

    check_s: float
    wait_s: float


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


def decide_crate(
    decision: Decision, patience: CratePatience, *, vouched_at: float, now: float
) -> Decision:
    """Return what becomes of `decision` about a crate.

    `vouched_at` is when an upstream last said, by the crate's index file, that this version is
    listed; 0: never.
    """
    if not isinstance(decision, Serve):
        return decision
    # A clock that was set back makes a confirmation young, as it does an Age.
    unconfirmed_s = now - vouched_at
    if unconfirmed_s > patience.wait_s:
        return UNCONFIRMED
    if unconfirmed_s > patience.check_s:
        return Serve(stored=decision.stored, ttl_s=decision.ttl_s, check=True)
    return decision


def pinned(stored: Stored, now: float) -> Serve | Absent:
    """Return the answer from an entry that a running sequence names, fresh or not."""
    ttl_s = freshness.ttl_s(stored.entry.fresh_until, now)
    if stored.entry.status == 200:
        return Serve(stored=stored, ttl_s=ttl_s)
    return Absent(stored=stored, reason=AbsentReason.REMEMBERED, ttl_s=ttl_s)
