"""The Retry-After field: RFC 9110 section 10.2.3, read with a cap.

Rules:
1. Seconds or a date; anything else is None and the caller uses its own back-off.
2. The result lies in [0, cap]: an upstream cannot park the mirror for a day.

Units: seconds.

Runs in: keeper. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from mirror.http.dates import parse_http_date

_DELAY: Final = re.compile(r"[0-9]+")
_EXACT_DIGITS: Final = 9  # a longer number is over any cap; not converted, `int()` is quadratic


def parse_retry_after(value: str | bytes, now: float, *, cap_s: float) -> float | None:
    """Return how long to wait from `now`, or None when `value` is neither form."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    text = text.strip(" \t")
    if _DELAY.fullmatch(text):
        digits = text.lstrip("0")
        return cap_s if len(digits) > _EXACT_DIGITS else min(float(digits or "0"), cap_s)
    date = parse_http_date(text)
    return None if date is None else min(max(date - now, 0.0), cap_s)
