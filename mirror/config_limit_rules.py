"""Rules of single keys that bound what clients, the disk and upstreams may cost.

Runs in: supervisor and commands. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final

Rule = Callable[[object], str]

_PIN = re.compile(r"(releases|crates|index):/[\x21-\x29\x2b-\x7e]*\*?")


def each(rule: Rule) -> Rule:
    """Return the rule for a list of what `rule` is for."""

    def check_each(value: object) -> str:
        items = value if isinstance(value, tuple) else ()
        return next((sentence for item in items if (sentence := rule(item))), "")

    return check_each


def between(low: int, high: int, note: str = "") -> Rule:
    """Return the rule for whole numbers from `low` to `high`."""
    allowed = f"a whole number from {low} to {high}{note}"
    return lambda value: "" if isinstance(value, int) and low <= value <= high else allowed


def network(value: object) -> str:
    try:
        ipaddress.ip_network(str(value))
    except ValueError:
        return 'networks such as "10.0.0.0/8" or "fd00::/8", without host bits'
    return ""


def _pin(value: object) -> str:
    if _PIN.fullmatch(str(value)):
        return ""
    return 'keys such as "releases:/dist/channel-rust-stable.toml", or prefixes that end in "*"'


LIMIT_RULES: Final[dict[str, Rule]] = {
    "store.free_inodes": between(0, 1 << 30, " (0: any number)"),
    "store.pins": each(_pin),
    "limits.client_requests": between(0, 1 << 20, " (0: no limit)"),
    "limits.client_streams": between(0, 1 << 20, " (0: no limit)"),
    "limits.ipv6_prefix": between(16, 128),
    "limits.exempt": each(network),
    "limits.tracked_clients": between(256, 1 << 20),
    "limits.queued_misses": between(1, 1 << 20),
    "upstream.max_requests": between(0, 1 << 20, " (0: no limit)"),
    "upstream.breaker_failures": between(1, 1000),
    "upstream.hedge_percent": between(0, 100),
}
