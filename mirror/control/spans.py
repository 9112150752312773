"""`/api/history`: what the ledger says of a span, as rows of equal length for charts and tables.

Rules:
1. A span has at most `MAX_POINTS` points; a step is a multiple of a minute. The ledger is read by
   the coarsest of its own steps that fits, so that a year costs no more than an hour.
2. A point stands for the time from its `at` on; the last one is not over yet.
3. Outcomes are summed to what a reader asks: did it need upstream? `local` needed no byte of
   content from there (hits, stale answers, revalidated ones, remembered absences).
4. What has no content class (front page, health checks, refused targets) is told apart as
   `own_answers` and counts in no other figure, as in `rust-mirror report`.

Units: `at` and `_at` Unix seconds, `_bytes` bytes of content.
Runs in: keeper. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mirror.accounting.figures import LOCAL, UNANSWERED
from mirror.accounting.history import FetchedLine, History, ObjectLine, ServedLine, Step
from mirror.accounting.layout import OTHER, Outcome
from mirror.route.route import ContentClass

MAX_POINTS: Final = 500  # more than a chart has pixels for on a phone, fewer than 30 KB of JSON
SHOWN_OBJECTS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """`[since, until)` in points of `step_s`; `since` is a multiple of it."""

    since: int
    until: int
    step_s: int

    @property
    def base(self) -> Step:
        """The coarsest step of the ledger that the points are made of."""
        fitting = [step for step in Step if self.step_s % step.value == 0]
        return max(fitting, key=lambda step: step.value)

    @property
    def points(self) -> range:
        return range(self.since, self.until, self.step_s)


class SpanError(ValueError):
    """What was asked for is no span; the text says what is."""


def parse_span(since: str, until: str, step: str, now: float) -> Span:
    """Return the span of a query; "" takes the last hour, until now, by the minute.

    `since` may be negative: so many seconds before `until`. Raises SpanError.
    """
    step_s = _number(step or "60", "step")
    if step_s < 60 or step_s % 60:
        raise SpanError("step is a multiple of 60 seconds")
    end = _number(until, "until") if until else math.ceil(now)
    begin = _number(since, "since") if since else -3600
    begin = end + begin if begin < 0 else begin
    begin -= begin % step_s
    if not 0 <= begin < end <= now + 86400:
        raise SpanError("since comes before until, and both lie in the past")
    if (end - begin) / step_s > MAX_POINTS:
        raise SpanError(f"at most {MAX_POINTS} points: take a larger step")
    return Span(since=begin, until=end, step_s=step_s)


def _number(text: str, name: str) -> int:
    if len(text) > 12 or not text.removeprefix("-").isdecimal() or not text.isascii():
        raise SpanError(f"{name} is a whole number of seconds")
    return int(text)


def build_history(history: History, span: Span) -> dict[str, Any]:
    """Return the document, ready for JSON. Raises StoreError."""
    lines = history.served(span.since, span.until, span.base)
    served = [line for line in lines if line.content_class != OTHER]
    own = [line for line in lines if line.content_class == OTHER]  # rule 4
    fetched = history.fetched(span.since, span.until, span.base)
    return {
        "since_at": span.since,
        "until_at": span.until,
        "step_s": span.step_s,
        "first_at": history.first_at(),
        "at": list(span.points),
        "classes": _classes(served, fetched, span),
        "own_answers": {
            "requests": sum(line.columns["requests"] for line in own),
            "served_bytes": sum(line.columns["content_bytes"] for line in own),
        },
        "outcomes": _outcomes(served),
        "groups": _groups(served),
        "upstreams": _upstreams(fetched),
        "objects": [
            _object(line) for line in history.objects(span.since, span.until, SHOWN_OBJECTS)
        ],
        "curve": [
            {
                "store_bytes": point.store_bytes,
                "byte_hit_ratio": round(point.byte_hit_ratio, 4),
                "request_hit_ratio": round(point.request_hit_ratio, 4),
            }
            for point in history.curve()
        ],
    }


def _classes(
    served: Sequence[ServedLine], fetched: Sequence[FetchedLine], span: Span
) -> dict[str, dict[str, list[int]]]:
    """Return per class one number per point: requests and those answered, bytes."""
    names = ("requests", "answered", "local", "served_bytes", "fetched_bytes")
    count = len(span.points)
    classes = {each.value: {name: [0] * count for name in names} for each in ContentClass}
    for line in served:
        at = (line.at - span.since) // span.step_s
        rows = classes.get(line.content_class)
        if rows is None or not 0 <= at < count:
            continue
        requests = line.columns["requests"]
        rows["requests"][at] += requests
        rows["served_bytes"][at] += line.columns["content_bytes"]
        rows["answered"][at] += 0 if line.outcome in UNANSWERED else requests
        rows["local"][at] += requests if line.outcome in LOCAL else 0
    for fetch in fetched:
        at = (fetch.at - span.since) // span.step_s
        rows = classes.get(fetch.content_class)
        if rows is not None and 0 <= at < count:
            rows["fetched_bytes"][at] += fetch.columns["content_bytes"]
    return classes


def _outcomes(served: Sequence[ServedLine]) -> dict[str, int]:
    sums = dict.fromkeys((each.value for each in Outcome), 0)
    for line in served:
        sums[line.outcome] = sums.get(line.outcome, 0) + line.columns["requests"]
    return sums


def _groups(served: Sequence[ServedLine]) -> list[dict[str, Any]]:
    """Return the client groups, those that got most first."""
    groups: dict[str, dict[str, Any]] = {}
    for line in served:
        entry = groups.setdefault(
            line.group,
            {"name": line.group, "requests": 0, "answered": 0, "local": 0, "served_bytes": 0},
        )
        requests = line.columns["requests"]
        entry["requests"] += requests
        entry["answered"] += 0 if line.outcome in UNANSWERED else requests
        entry["local"] += requests if line.outcome in LOCAL else 0
        entry["served_bytes"] += line.columns["content_bytes"]
    return sorted(groups.values(), key=lambda entry: (-entry["served_bytes"], entry["name"]))


def _upstreams(fetched: Sequence[FetchedLine]) -> list[dict[str, Any]]:
    upstreams: dict[str, dict[str, Any]] = {}
    for line in fetched:
        entry = upstreams.setdefault(
            line.upstream,
            {"url": line.upstream, **dict.fromkeys(line.columns, 0)},
        )
        for name, value in line.columns.items():
            entry[name] += value
    return sorted(upstreams.values(), key=lambda entry: (-entry["requests"], entry["url"]))


def _object(line: ObjectLine) -> dict[str, Any]:
    return {
        "key": line.key,
        "requests": line.requests,
        "content_bytes": line.content_bytes,
        "error": line.error,
    }
