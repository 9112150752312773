"""The trust section of `rust-mirror status`, in plain words with what to do.

Rules:
1. Alarms (frozen channels, what is held, quarantined bytes) have a line of their own; what is well
   is told in few words.

Runs in: commands (rich is imported here; `serve` never imports this).
"""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from mirror.cli.tables import printable, size_text, span_text

_SHOWN: Final = 10
_PROOFS: Final = {
    "signed-generation": "signature verified",
    "generation": "by its .sha256 only",
    "": "not stored at the moment",
}
_DAY_S: Final = 86400


def print_trust(console: Console, trust: dict[str, Any], now: float) -> None:
    """Print the section; outside text is escaped."""
    for line in trust_lines(trust, now):
        console.print(escape(printable(line)), soft_wrap=True)


def trust_lines(trust: dict[str, Any], now: float) -> list[str]:
    """Return the section as lines of text."""
    policy, key = trust["policy"], trust["release_key"]
    lines = [
        f"trust: channel manifests by {policy['channel_manifest']},"
        f" archives by {policy['archive']}, unverified ranges: {policy['unverified_ranges']}",
        f"release key: {key['source']}, accepted as {', '.join(key['fingerprints'])} only",
    ]
    if "channels" not in trust:
        return [*lines, "channels, held releases and quarantine: unknown (keeper away)"]
    for channel in trust["channels"]:
        lines += _channel(channel, now)
    lines += _legacy(trust)
    lines += _held(trust, now)
    return lines + _quarantine(trust["quarantine"], now)


def _channel(channel: dict[str, Any], now: float) -> list[str]:
    proof = _PROOFS.get(channel["proof"], channel["proof"])
    confirmed_at = channel["confirmed_at"]
    seen = f", confirmed {span_text(now - confirmed_at)} ago" if confirmed_at else ""
    line = (
        f"channel {channel['name']}: newest manifest ever served is of {channel['date']},"
        f" {channel['age_s'] / _DAY_S:.0f} days old, {proof}{seen}"
    )
    if not channel["is_frozen"]:
        return [line]
    todo = (
        "  to do: look whether upstream has published since"
        f" (trust.{channel['name']}_frozen_after sets this alarm)"
    )
    return [f"{line}: FROZEN, older than it should ever be", todo]


def _legacy(trust: dict[str, Any]) -> list[str]:
    total = trust["legacy_channels_total"]
    if not total:
        return []
    shown = [f"  {key}" for key in trust["legacy_channels"][:_SHOWN]]
    return [
        f"legacy releases served by their digest only, no signature verifies: {total}",
        *shown,
        *_more(total - len(shown)),
    ]


def _held(trust: dict[str, Any], now: float) -> list[str]:
    total = trust["held_total"]
    lines: list[str] = []
    for item in trust["held"][:_SHOWN]:
        lines += [
            f"HELD {item['key']}, for {span_text(now - item['since_at'])}: {item['reason']}",
            f'  to do: nothing, unless it is right: then add "{item["accept"]}"'
            " to [trust] accept in the configuration file, and reload the mirror",
        ]
    return lines + _more(total - min(total, _SHOWN))


def _quarantine(quarantine: dict[str, Any], now: float) -> list[str]:
    if not quarantine["count"]:
        return ["quarantine: empty"]
    lines = [
        f"QUARANTINE: objects that failed their check: {quarantine['count']},"
        f" {size_text(quarantine['used_bytes'])},"
        f" the oldest for {span_text(quarantine['oldest_age_s'])};"
        " never served, cleared when a good object comes",
    ]
    for item in quarantine["newest"]:
        keys = ", ".join(item["keys"][:3]) or "no key"
        lines.append(f"  {span_text(now - item['taken_at'])} ago: {keys}: {item['reason']}")
    return lines + _more(quarantine["count"] - len(quarantine["newest"]))


def _more(count: int) -> list[str]:
    return [f"  and {count} more: see --json"] if count > 0 else []
