"""The ledger's sums as plain values for JSON and tables.

Rules:
1. `hit_ratio` is the share of answered requests that needed no byte of content from upstream: hits,
   stale answers and remembered absences; it is None before the first request.
2. Refused and failed requests are shown, and count in no ratio: nobody saved anything by them.

Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from typing import Any

from mirror.accounting.layout import Outcome
from mirror.accounting.totals import Totals
from mirror.route.route import ContentClass

_LOCAL = (Outcome.HIT, Outcome.STALE, Outcome.REVALIDATED, Outcome.NEGATIVE)
_UNANSWERED = (Outcome.REFUSED, Outcome.FAILED)


def traffic_of(totals: Totals) -> dict[str, Any]:
    """Return one entry per content class, and `total`."""
    classes = {each.value: _class_of(totals, each) for each in ContentClass}
    whole: dict[str, Any] = {
        name: sum(entry[name] for entry in classes.values())
        for name in next(iter(classes.values()))
        if name not in ("outcomes", "hit_ratio")
    }
    outcomes = {
        outcome.value: sum(entry["outcomes"][outcome.value] for entry in classes.values())
        for outcome in Outcome
    }
    whole |= {"outcomes": outcomes, "hit_ratio": _hit_ratio(outcomes)}
    return {"classes": classes, "total": whole}


def _class_of(totals: Totals, content_class: ContentClass) -> dict[str, Any]:
    served, fetched = totals.served(content_class), totals.fetched(content_class)
    outcomes = {each.value: totals.served(content_class, each).requests for each in Outcome}
    return {
        "requests": served.requests,
        "served_bytes": served.content_bytes,
        "upstream_requests": fetched.requests,
        "fetched_bytes": fetched.content_bytes,
        "saved_bytes": totals.saved_bytes(content_class),
        "outcomes": outcomes,
        "hit_ratio": _hit_ratio(outcomes),
    }


def _hit_ratio(outcomes: dict[str, int]) -> float | None:
    answered = sum(
        count for name, count in outcomes.items() if name not in [o.value for o in _UNANSWERED]
    )
    if not answered:
        return None
    return round(sum(outcomes[each.value] for each in _LOCAL) / answered, 4)
