"""What was answered, into the counters.

Rules:
1. One request is one row; content bytes are added as they are sent, not as they are promised.
2. The words of Cache-Status decide the row, so field and counter never disagree.

Runs in: worker.
"""

from __future__ import annotations

from mirror.accounting.layout import Outcome
from mirror.route.route import ContentClass
from mirror.serve.ports import Counting


class Account:
    """The counters' row of one response."""

    __slots__ = ("_row", "_view")

    def __init__(
        self, counters: Counting, content_class: ContentClass | None, outcome: Outcome
    ) -> None:
        self._view = counters.view
        self._row = counters.row(content_class, outcome)

    def count_head(self, head_bytes: int) -> None:
        self._view[self._row] += 1
        self._view[self._row + 2] += head_bytes

    def count_content(self, content_bytes: int) -> None:
        self._view[self._row + 1] += content_bytes


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
