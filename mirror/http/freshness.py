"""Freshness and age: RFC 9111 sections 4.2 and 5.1, for times that the keeper has already settled.

Rules:
1. What never changes has `fresh_until` `math.inf`.
2. A clock that was set back makes a response young, never of negative age; but not fresh for as
   long as the clock was set back: what was confirmed in the future by more than `CLOCK_SLACK_S` is
   asked about.

Units: Unix seconds in, whole seconds out. Does not read Cache-Control: for the Rust classes the
lifetime is the operator's (`[freshness]`), not upstream's.

Runs in: both. Pure.
"""

from __future__ import annotations

import math
from typing import Final

# A worker reads its clock four times a second and later when it is busy; a confirmation that is
# some seconds ahead is ordinary.
CLOCK_SLACK_S: Final = 60.0
_AGE_LIMIT_S: Final = 2**31 - 1  # RFC 9111 section 1.2.2: a recipient may hold 31 bits


def age_s(confirmed_at: float, now: float) -> int:
    """The value of the Age field: seconds since an upstream last vouched for the response."""
    return min(max(int(now - confirmed_at), 0), _AGE_LIMIT_S)


def is_fresh(fresh_until: float, now: float, *, confirmed_at: float = 0.0) -> bool:
    """Whether a response may be served without asking; `confirmed_at` guards it by rule 2."""
    if fresh_until == math.inf:
        return True
    return now < fresh_until and believed(confirmed_at, now) == confirmed_at


def believed(confirmed_at: float, now: float) -> float:
    """A confirmation as far as it is one: 0 (never) when it lies in the future (rule 2)."""
    return confirmed_at if confirmed_at - now <= CLOCK_SLACK_S else 0.0


def ttl_s(fresh_until: float, now: float) -> int | None:
    """Whole seconds of freshness left, negative when stale; None when it never ends."""
    return None if fresh_until == math.inf else math.floor(fresh_until - now)


def is_too_stale(fresh_until: float, confirmed_at: float, now: float, *, limit_s: float) -> bool:
    """Whether a response is too old to stand in for an upstream that is away (RFC 5861 section 4).

    One that was marked for a question before its time (`fresh_until` 0) is as old as what confirmed
    it.
    """
    return now - max(fresh_until, confirmed_at) > limit_s
