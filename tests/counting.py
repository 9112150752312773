"""Counting by hand, as a process would."""

from __future__ import annotations

from mirror.accounting.counters import Counters
from mirror.accounting.layout import Outcome
from mirror.route.route import ContentClass


def count(
    counters: Counters,
    content_class: ContentClass | None,
    outcome: Outcome,
    *,
    requests: int = 1,
    content_bytes: int = 0,
    head_bytes: int = 0,
) -> None:
    """Add to a row of clients that belong to no group."""
    row = counters.row(content_class, outcome)
    for at, value in enumerate((requests, content_bytes, head_bytes)):
        counters.view[row + at] += value
