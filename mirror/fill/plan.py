"""What to do with a request, given what the store knows: serve, answer "absent", or ask the keeper.

Rules:
1. A fresh stored response is served without a word to the keeper.
2. A stale one is served while the keeper revalidates it behind the answer (RFC 5861 section 3), for
   as long as `FreshnessRules` say; then it is asked about. The keeper answers it stale when
   upstream is away (section 4), never the worker.
3. A stale absence is fetched anew: an upstream failure never becomes a 404, so it cannot be kept.
4. A client's claim is compared, never trusted: against a fresh stored response here (unequal: 404
   without a fetch), else by the keeper against the index.
5. GET and HEAD are decided alike; no other method comes here.
6. The bytes of a crate never become stale, but its index may stop listing it: a hit whose index
   entry was confirmed more than `check_s` ago is served and checked behind it, after more than
   `wait_s` it waits for the check.
7. A file of a client's running sequence comes from the generation of that sequence, fresh or not.
8. A client's directives (RFC 9111 section 5.2.1) count for what was confirmed `client_floor_s` ago
   or longer: so a client, or a thousand, can have upstream asked about a key once in that time. A
   client that names an age and says nothing of `max-stale` waits for a stale response.
9. What never becomes stale is never revalidated at a client's wish: its bytes are what they are.
10. A file that is checked by the one beside it is never served stale while it is revalidated
    (`route.policy.has_partner`): the answer that follows would be of the version after it.

Units: `now` and `vouched_at` are Unix times.
Does not: look at the file (its absence or change is found when it is opened; see `BLOB_GONE`).
Runs in: worker. Pure.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Final

from mirror.fill.messages import Purpose
from mirror.http import cache_status, freshness
from mirror.http.cache_status import STALE_WHILE_REVALIDATE, Forward
from mirror.http.request_directives import NO_DIRECTIVES, RequestDirectives
from mirror.store.entry import Entry, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """The stored response is to be served; `ttl_s` None: it never becomes stale.

    `check`: its index entry wants a confirmation, which this answer does not wait for.
    `revalidate`: it is stale itself, and this answer does not wait for news of it.
    """

    stored: Stored
    ttl_s: int | None
    check: bool = False
    revalidate: bool = False

    @property
    def outcome(self) -> str:
        # A hit: this request is not forwarded, the one behind it is nobody's (RFC 9211 section 2.1)
        detail = STALE_WHILE_REVALIDATE if self.revalidate else ""
        return cache_status.hit(ttl_s=self.ttl_s, detail=detail)


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
    """`forward` is the RFC 9211 word for why.

    `since`: nothing that was confirmed earlier will do (Unix seconds); 0: whatever is fresh.
    """

    purpose: Purpose
    forward: Forward
    since: float = 0.0

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshnessRules:
    """What may be done with stale responses and with clients' wishes, in seconds of `[freshness]`.

    `revalidate_s` and `error_s`: how long past its freshness a response is served while it is
    revalidated, and while upstream is away.
    """

    revalidate_s: float
    error_s: float
    client_floor_s: float


# No stale response without the keeper, and no limit to what it may answer.
STRICT: Final = FreshnessRules(revalidate_s=0.0, error_s=math.inf, client_floor_s=0.0)


def decide(
    stored: Stored | None,
    now: float,
    *,
    claim: bytes = b"",
    rules: FreshnessRules = STRICT,
    directives: RequestDirectives = NO_DIRECTIVES,
) -> Decision:
    """Return what to do; `claim` is the digest from the request's path (32 bytes) or b""."""
    if stored is None:
        return NOTHING_STORED
    entry = stored.entry
    is_fresh = freshness.is_fresh(entry.fresh_until, now, confirmed_at=entry.confirmed_at)
    wanted = _counting(directives, entry, now, rules)
    over_s = _over_s(entry, now, wanted) if wanted is not NO_DIRECTIVES else 0.0
    if is_fresh and over_s <= _tolerated_s(wanted, rules):
        ttl_s = freshness.ttl_s(entry.fresh_until, now)
        if entry.status != 200:
            return Absent(stored=stored, reason=AbsentReason.REMEMBERED, ttl_s=ttl_s)
        if claim and claim != entry.digest:
            return Absent(stored=stored, reason=AbsentReason.CLAIM, ttl_s=ttl_s)
        return Serve(stored=stored, ttl_s=ttl_s)
    is_claimed = claim in (b"", entry.digest)
    if not is_fresh and entry.status == 200 and is_claimed and _may_wait(entry, now, wanted, rules):
        ttl_s = freshness.ttl_s(entry.fresh_until, now)
        return Serve(stored=stored, ttl_s=ttl_s, revalidate=True)
    return _asked(entry, now, wanted, over_s, is_fresh=is_fresh)


def _counting(
    directives: RequestDirectives, entry: Entry, now: float, rules: FreshnessRules
) -> RequestDirectives:
    """The directives that count for this entry (rules 8 and 9)."""
    if directives is NO_DIRECTIVES or entry.fresh_until == math.inf:
        return NO_DIRECTIVES
    return NO_DIRECTIVES if now - entry.confirmed_at < rules.client_floor_s else directives


def _over_s(entry: Entry, now: float, wanted: RequestDirectives) -> float:
    """By how much the entry is past what the client takes for fresh; 0 or less: it is not."""
    if wanted.no_cache:
        return math.inf
    wished_until = entry.fresh_until
    if wanted.max_age_s is not None:
        wished_until = min(wished_until, entry.confirmed_at + wanted.max_age_s)
    return now - (wished_until - wanted.min_fresh_s)


def _tolerated_s(wanted: RequestDirectives, rules: FreshnessRules) -> float:
    """How much of that the client tolerates. Upstream's silence is the keeper's business."""
    if wanted.no_cache or wanted.max_stale_s is None:
        return 0.0
    return min(wanted.max_stale_s, rules.error_s)


def _may_wait(entry: Entry, now: float, wanted: RequestDirectives, rules: FreshnessRules) -> bool:
    """Whether the stale entry may be served and revalidated behind the answer."""
    # A clock that was set back ends freshness too (`freshness`, rule 2); that is no staleness.
    stale_s = max(now - entry.fresh_until, 0.0)
    if wanted.no_cache or entry.fresh_until <= 0:
        return False  # 0: something disagreed with it (`EntryMaker.suspect`)
    if wanted.max_stale_s is not None:
        return _over_s(entry, now, wanted) <= _tolerated_s(wanted, rules)
    # Without max-stale a client that names an age wants nothing stale (section 5.2.1.1).
    names_age = wanted.max_age_s is not None or wanted.min_fresh_s > 0
    return not names_age and stale_s < rules.revalidate_s


def _asked(
    entry: Entry, now: float, wanted: RequestDirectives, over_s: float, *, is_fresh: bool
) -> AskKeeper:
    if not is_fresh and wanted is NO_DIRECTIVES:
        return STALE if entry.status == 200 else STALE_ABSENCE
    # What is confirmed as much later as it is too old by would do; for no-cache nothing before now.
    since = now if wanted.no_cache else min(now, entry.confirmed_at + max(over_s, 0.0))
    is_stored = entry.status == 200
    return AskKeeper(
        purpose=Purpose.REVALIDATE if is_stored else Purpose.FETCH,
        forward=Forward.REQUEST if is_fresh else Forward.STALE,
        since=since,
    )


def decide_crate(
    decision: Decision, patience: CratePatience, *, vouched_at: float, now: float
) -> Decision:
    """Return what becomes of `decision` about a crate.

    `vouched_at` is when an upstream last said, by the crate's index file, that this version is
    listed; 0: never.
    """
    if not isinstance(decision, Serve):
        return decision
    # A confirmation of a moment ahead is young, as its Age is; one of far ahead does not come here.
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
