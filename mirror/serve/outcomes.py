"""Which row of the counters an answer belongs to.

Rules:
1. The words of Cache-Status decide, so field and counter never disagree.
2. How an answer was come by follows from its outcome and from whether the keeper was asked.

Runs in: worker. Pure.
"""

from __future__ import annotations

from mirror.accounting.layout import Outcome, Path

_JOINING = (Outcome.HIT, Outcome.COLLAPSED)


def outcome_of(words: str, *, is_stale: bool = False) -> Outcome:
    """Return the outcome that the Cache-Status words of a 200 or 304 stand for."""
    if is_stale:
        return Outcome.STALE
    if "collapsed" in words:
        return Outcome.COLLAPSED
    if words.startswith("hit"):
        return Outcome.HIT
    return Outcome.REVALIDATED if "fwd-status=304" in words else Outcome.MISS


def outcome_of_status(status: int) -> Outcome:
    """Return the outcome of an answer without representation."""
    if status < 400:
        return Outcome.HIT
    if status == 404:
        return Outcome.NEGATIVE
    return Outcome.FAILED if status >= 500 else Outcome.REFUSED


def path_of(outcome: Outcome, *, was_asked: bool) -> Path:
    """Return how an answer was come by; `was_asked`: the keeper, for this request."""
    if not was_asked:
        return Path.HIT
    return Path.JOINED if outcome in _JOINING else Path.FILLED
