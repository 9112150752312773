"""Times of the command line as spans: "30d", "2026-11-01", "2026-11-01T06:00".

Rules:
1. A duration is before now; a date is its midnight, in UTC.
2. Spans shorter than two days are summed by the hour while the ledger has their hours, others by
   the day; both ends are moved outwards to whole steps.
3. `--until` is the moment at which the span ends: a date is not itself in it.

Runs in: commands.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

from mirror.accounting.days import DAY_S, Span, floor_to, span_of
from mirror.accounting.history import Step
from mirror.units import parse_duration_s

SHORT_S: Final = 2 * DAY_S
MAX_S: Final = 100 * 366 * DAY_S
FORM: Final = 'a duration before now such as "30d" or "12h", or a date such as "2026-11-01"'


def moment_of(text: str, option: str, now: float) -> float:
    """Return the Unix time that `text` names. Raises click.BadParameter."""
    try:
        return now - parse_duration_s(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r}: {FORM}", param_hint=option) from exc
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def span_between(
    since: str, until: str, by: tuple[str, ...], now: float, *, hours_kept_s: float
) -> Span:
    """Return the span of a report. Raises click.BadParameter."""
    begin = moment_of(since, "--since", now)
    end = moment_of(until, "--until", now) if until else now
    end = min(end, now)
    if begin < 0 or end - begin > MAX_S:
        raise click.BadParameter("a hundred years at most, after 1970", param_hint="--since")
    if begin >= end:
        raise click.BadParameter("it begins before it ends, and before now", param_hint="--since")
    is_short = end - begin < SHORT_S and begin >= now - hours_kept_s
    return span_of(begin, end, Step.HOUR if is_short or "hour" in by else Step.DAY)


def whole_days(since: str, until: str, now: float) -> tuple[int, int]:
    """Return the complete days of a span: today is never one. Raises click.BadParameter."""
    today = floor_to(now, Step.DAY)
    end = min(floor_to(moment_of(until, "--until", now), Step.DAY), today) if until else today
    begin = floor_to(moment_of(since, "--since", now), Step.DAY)
    if begin < 0 or begin >= end:
        raise click.BadParameter(
            "no complete day (of UTC) lies between; today is not over", param_hint="--since"
        )
    return begin, end
