"""The figures of `rust-mirror report --format json`, worked out again from the access log.

    python -m benchmarks.recompute access.jsonl --prices prices.toml --by class,group \\
        --since 2026-11-22T09:00:00Z --until 2026-11-22T11:00:00Z --now 2026-11-22T10:12:31Z

Rules:
1. Nothing of the mirror is imported: what the figures mean is taken from `docs/access-log.md`, the
   price file's comments and the report's own notes, and programmed a second time.
2. Lines of the log are all there is to go by, so the log must not be sampled, and must be complete.
3. Growth and projections stand on days of history, which are not worked out again: a log of more
   than an hour is refused.

Units: bytes; money in millionths of the price file's currency; times in Unix seconds.
Does not: recompute what the mirror itself calls approximate (most requested objects, curve).
Runs in: command, tests.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.recompute_costs import costs_of, read_prices
from benchmarks.recompute_log import (
    HOUR_S,
    Key,
    Log,
    LogError,
    fetched_by_group,
    fetched_by_hour,
    hour_of,
    month_begin,
    read_log,
    row_key,
    time_text,
)

LOCAL = ("hit", "stale", "revalidated", "negative")
UNANSWERED = ("refused", "failed")
FETCHED = (
    *("requests", "content_bytes", "head_bytes", "not_modified"),
    *("ranged", "retried", "throttled", "failed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the report was asked for. Both ends of the span lie on hours."""

    since: float
    until: float
    now: float
    by: tuple[str, ...]


@dataclass(slots=True)
class Row:
    """Sums of one row."""

    requests: int = 0
    served_bytes: int = 0
    head_bytes: int = 0
    ranged: int = 0
    not_modified: int = 0
    cut: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    outcome_bytes: Counter[str] = field(default_factory=Counter)
    fetched: Counter[str] = field(default_factory=Counter)

    def add(self, line: Mapping[str, Any]) -> None:
        self.requests += 1
        self.served_bytes += line["bytes"]
        self.head_bytes += line["head_bytes"]
        self.ranged += line["status"] == 206
        self.not_modified += line["status"] == 304
        self.cut += not line["complete"]
        self.outcomes[line["outcome"]] += 1
        self.outcome_bytes[line["outcome"]] += line["bytes"]

    def figures(self) -> dict[str, Any]:
        saved = self.served_bytes - self.fetched["content_bytes"]
        return {
            "requests": self.requests,
            "served_bytes": self.served_bytes,
            "head_bytes": self.head_bytes,
            "ranged": self.ranged,
            "not_modified": self.not_modified,
            "cut": self.cut,
            "outcomes": dict(sorted(self.outcomes.items())),
            "upstream_requests": self.fetched["requests"],
            "fetched_bytes": self.fetched["content_bytes"],
            "fetched_head_bytes": self.fetched["head_bytes"],
            "saved_bytes": saved,
            "spared_requests": self.requests - self.fetched["requests"],
            "saved_ratio": _ratio(saved, self.served_bytes),
            "request_hit_ratio": _hit_ratio(self.outcomes),
            "byte_hit_ratio": _hit_ratio(self.outcome_bytes),
        }


def recompute(log: Log, prices: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """Return the figures under the names that the report has for them. Raises: LogError."""
    if log.first_at is not None and asked.now - log.first_at >= HOUR_S:
        raise LogError("the log spans an hour or more: projections are not worked out here")
    span = log.between(asked.since, asked.until)
    month = log.between(month_begin(asked.now), float("inf"))
    total, rows = _rows(span, asked.by)
    costs = costs_of(span, month, prices, asked.by)
    own = [line for line in span.served if line["class"] == "other"]
    to_date, _ = _rows(month, ())
    avoided = costs_of(month, month, prices, ()).total["avoided_micro"]
    return {
        "total": {**total.figures(), **costs.total, "payers": costs.payers},
        "own_answers": {
            "requests": len(own),
            "served_bytes": sum(line["bytes"] for line in own),
        },
        "rows": {key: {**row.figures(), **costs.rows[key]} for key, row in rows.items()},
        "points": list(_points(span, asked)),
        "month": {
            "to_date": {**to_date.figures(), "avoided_micro": avoided},
            "projected": {"served_bytes": None, "saved_bytes": None, "avoided_micro": None},
        },
        "growth": None,
        "upstreams": list(_upstreams(span)),
    }


def _rows(log: Log, by: tuple[str, ...]) -> tuple[Row, dict[Key, Row]]:
    total, rows = Row(), defaultdict[Key, Row](Row)
    for line in log.served:
        if line["class"] != "other":
            total.add(line)
            rows[row_key(by, line["class"], line["group"])].add(line)
    for columns in fetched_by_hour(log).values():
        total.fetched.update(columns)
    for group, _url, content_class, columns in fetched_by_group(log, by):
        rows[row_key(by, content_class, group)].fetched.update(columns)
    return total, dict(rows)


def _points(log: Log, asked: Asked) -> Iterator[dict[str, Any]]:
    requests, served, fetched = Counter[int](), Counter[int](), Counter[int]()
    for line in log.served:
        if line["class"] != "other":
            requests[hour_of(line)] += 1
            served[hour_of(line)] += line["bytes"]
    for line in log.fetched:
        fetched[hour_of(line)] += line["bytes"]
    for hour in range(int(asked.since), int(asked.until), HOUR_S):
        yield {
            "at": time_text(hour),
            "requests": requests[hour],
            "served_bytes": served[hour],
            "fetched_bytes": fetched[hour],
        }


def _upstreams(log: Log) -> Iterator[dict[str, Any]]:
    accounts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    hours: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for (hour, url, _class), columns in fetched_by_hour(log).items():
        accounts[url].update(columns)
        hours[url][hour] += columns["requests"]
    for url in sorted(accounts, key=lambda each: (-accounts[each]["requests"], each)):
        busiest = max(hours[url], key=lambda hour: (hours[url][hour], -hour))
        yield {
            "url": url,
            **{name: accounts[url][name] for name in FETCHED},
            "busiest_at": time_text(busiest),
            "busiest_requests": hours[url][busiest],
        }


def _ratio(part: int, whole: int) -> float | None:
    if not whole:
        return None
    return min(0.9999, round(part / whole, 4)) if part < whole else round(part / whole, 4)


def _hit_ratio(amounts: Counter[str]) -> float | None:
    answered = sum(amount for word, amount in amounts.items() if word not in UNANSWERED)
    return _ratio(sum(amounts[word] for word in LOCAL), answered)


def main() -> int:
    """Print the figures as JSON; return 1 when the log cannot give them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recompute", description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--prices", type=Path, required=True)
    for name in ("--since", "--until", "--now"):
        parser.add_argument(name, type=datetime.fromisoformat, required=True)
    parser.add_argument("--by", default="class")
    given = parser.parse_args()
    asked = Asked(
        since=given.since.timestamp(),
        until=given.until.timestamp(),
        now=given.now.timestamp(),
        by=tuple(name for name in given.by.split(",") if name),
    )
    try:
        figures = recompute(read_log(given.log), read_prices(given.prices), asked)
    except LogError as exc:
        print(f"{given.log}: {exc}", file=sys.stderr)
        return 1
    figures["rows"] = [
        dict(zip(asked.by, key, strict=True)) | row for key, row in figures["rows"].items()
    ]
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
