"""A report as a document of plain values: the JSON of `report --format json`, and what the
dashboard shows.

Rules:
1. `version` 1: keys are added, and none changes its meaning or goes.
2. Money is whole micro-units of `prices.currency`; bytes are of content unless named otherwise;
   times are UTC. None where a figure cannot be told.

Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from mirror.accounting.costs import Cost
from mirror.accounting.days import time_text
from mirror.accounting.figures import Figures
from mirror.accounting.forecast import Projection
from mirror.accounting.prices import Prices
from mirror.accounting.report import Month, Report, UpstreamAccount

VERSION: Final = 1
SERVED_COLUMNS: Final = ("head_bytes", "ranged", "not_modified", "cut")


def document_of(report: Report) -> dict[str, Any]:
    """Return the whole report."""
    request, table = report.request, report.table
    span = request.span
    has_costs = "outcome" not in table.by
    return {
        "version": VERSION,
        "title": request.title,
        "generated_at": time_text(request.now),
        "span": {
            "since": time_text(span.since),
            "until": time_text(span.until),
            "step_s": span.step.value,
            "counting_began": None if report.first_at is None else time_text(report.first_at),
        },
        "notes": [asdict(note) for note in report.notes],
        "prices": _prices(report.prices),
        "total": {
            **figures_document(table.total),
            **cost_document(table.costs.total),
            "payers": {payer: cost_document(cost) for payer, cost in table.costs.payers.items()},
        },
        "own_answers": {"requests": report.own.requests, "served_bytes": report.own.served_bytes},
        "by": list(table.by),
        "rows": [
            {
                **dict(zip(table.by, row.key, strict=True)),
                **figures_document(row.figures),
                **cost_document(table.costs.rows[row.key] if has_costs else None),
            }
            for row in table.rows
        ],
        "points": [{**asdict(point), "at": time_text(point.at)} for point in report.points],
        "month": _month(report.month),
        "growth": None if report.growth is None else asdict(report.growth),
        "upstreams": [_upstream(account) for account in report.upstreams],
        "objects": [asdict(line) for line in report.objects],
        "store": {"budget_bytes": request.store_bytes or None},
        "curve": [asdict(point) for point in report.curve],
    }


def figures_document(figures: Figures) -> dict[str, Any]:
    """Return what was served and fetched, and what follows from it."""
    fetched = figures.fetched
    return {
        "requests": figures.requests,
        "served_bytes": figures.served_bytes,
        **{name: figures.columns[name] for name in SERVED_COLUMNS},
        "outcomes": {name: n for name, n in sorted(figures.requests_by_outcome.items()) if n},
        "upstream_requests": None if fetched is None else fetched.requests,
        "fetched_bytes": None if fetched is None else fetched.content_bytes,
        "fetched_head_bytes": None if fetched is None else fetched.head_bytes,
        "saved_bytes": figures.saved_bytes,
        "spared_requests": figures.spared_requests,
        "saved_ratio": figures.saved_ratio,
        "request_hit_ratio": figures.request_hit_ratio,
        "byte_hit_ratio": figures.byte_hit_ratio,
    }


def cost_document(cost: Cost | None) -> dict[str, int | None]:
    """Return what was avoided, and what that is the difference of."""
    return {
        "without_micro": None if cost is None else cost.without_micro,
        "fetched_micro": None if cost is None else cost.fetched_micro,
        "egress_micro": None if cost is None else cost.egress_micro,
        "avoided_micro": None if cost is None else cost.avoided_micro,
    }


def _prices(prices: Prices) -> dict[str, Any]:
    return {
        "currency": prices.currency,
        "is_example": prices.is_example,
        "meters": [
            {
                "name": meter.name,
                "payer": meter.payer,
                "path": meter.path.value,
                "gigabyte_bytes": meter.gigabyte_bytes,
                "others_bytes": meter.others_bytes,
                "free_bytes": meter.free_bytes,
                "tiers": [asdict(tier) for tier in meter.tiers],
                "micro_per_10000_requests": meter.micro_per_10000_requests,
                "source": meter.source,
                "as_of": meter.as_of,
            }
            for meter in prices.meters
        ],
    }


def _month(month: Month) -> dict[str, Any]:
    return {
        "since": time_text(month.since),
        "until": time_text(month.until),
        "to_date": {**figures_document(month.figures), "avoided_micro": month.avoided_micro},
        "projected": {
            "served_bytes": _projection(month.served),
            "saved_bytes": _projection(month.saved),
            "avoided_micro": month.projected_avoided_micro,
        },
    }


def _projection(projection: Projection | None) -> dict[str, Any] | None:
    if projection is None:
        return None
    return {
        "value": round(projection.value),
        "low": None if projection.low is None else round(projection.low),
        "high": None if projection.high is None else round(projection.high),
        "days_used": projection.days_used,
    }


def _upstream(account: UpstreamAccount) -> dict[str, Any]:
    return {
        "url": account.url,
        **{name: account.columns[name] for name in sorted(account.columns)},
        "busiest_at": time_text(account.busiest_at),
        "busiest_requests": account.busiest_requests,
    }
