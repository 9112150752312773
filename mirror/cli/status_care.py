"""What `rust-mirror status` says of the scrub and of healing.

Runs in: commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mirror.cli.tables import size_text, span_text

_NEVER_S = 20 * 365 * 86400  # an oldest check of 0 is no time


def care_lines(scrub: dict[str, Any], now: float) -> Iterator[str]:
    """Yield lines for people; `scrub` is the section of the document, `now` Unix seconds."""
    yield f"scrub: {_doing(scrub)}; {_checked(scrub)}{_last_pass(scrub, now)}"
    found, healed = scrub.get("found_total", 0), scrub["healed_total"]
    if found or healed or scrub["not_healed_total"] or scrub["healing"]:
        yield (
            f"damage since the keeper started: {found:,} files found by the scrub,"
            f" {healed:,} keys fetched anew, {scrub['not_healed_total']:,} not,"
            f" {scrub['healing']:,} waiting"
        )


def _doing(scrub: dict[str, Any]) -> str:
    if not scrub["is_enabled"]:
        return "OFF ([scrub] enabled)"
    return f"reading {size_text(scrub['bytes_per_s'])}/s" if scrub["is_reading"] else "resting"


def _checked(scrub: dict[str, Any]) -> str:
    age_s = scrub["oldest_check_age_s"]
    if age_s is None:
        return "nothing is stored"
    if age_s > _NEVER_S:
        return "some files were never hashed since they were found"
    return f"everything was hashed within the last {span_text(age_s)}"


def _last_pass(scrub: dict[str, Any], now: float) -> str:
    ended_at, took_s = scrub.get("last_pass_ended_at"), scrub.get("last_pass_duration_s")
    if ended_at is None or took_s is None:
        return ""
    return f"; last full pass {span_text(now - ended_at)} ago, it took {span_text(took_s)}"
