"""Freshness and age: RFC 9111 sections 4.2 and 5.1, for times that the keeper has already settled.

Rules:
1. What never changes has `fresh_until` `math.inf`.
2. A clock that was set back makes a response young, never of negative age.

Units: Unix seconds in, whole seconds out. Does not read Cache-Control: for the Rust classes the
lifetime is the operator's (`[freshness]`), not upstream's.

Runs in: both. Pure.
"""

from __future__ import annotations

import math
from typing import Final

_AGE_LIMIT_S: Final = 2**31 - 1  # RFC 9111 section 1.2.2: a recipient may hold 31 bits


def age_s(confirmed_at: float, now: float) -> int:
    """The value of the Age field: seconds since an upstream last vouched for the response."""
    return min(max(int(now - confirmed_at), 0), _AGE_LIMIT_S)


def is_fresh(fresh_until: float, now: float) -> bool:
    return now < fresh_until


def ttl_s(fresh_until: float, now: float) -> int | None:
    """Whole seconds of freshness left, negative when stale; None when it never ends."""
    return None if fresh_until == math.inf else math.floor(fresh_until - now)
