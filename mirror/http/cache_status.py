"""The Cache-Status field: RFC 9211.

Rules:
1. The words are those of the RFC; the same words stand in logs and metrics.
2. A value is this cache's name and an *outcome*: `hit` or `fwd=…` with their parameters, as text.
   The outcome travels through the worker-keeper protocol; the name is added where it is sent.
3. Whatever is not a token is written as a quoted string, so no value can break the field.
4. The keeper knows what became of a request, the worker why it was asked and how fresh the answer
   is by its clock; `with_reason` and `with_ttl` put the three together.
5. `key` is not sent: it would repeat the request's own path.

Units: `ttl` in seconds of freshness left, negative when stale.

Runs in: both. Pure.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from mirror.http.structured import bare_item


class Forward(enum.Enum):
    """Why a request went forward (section 2.2)."""

    BYPASS = "bypass"
    METHOD = "method"
    URI_MISS = "uri-miss"
    VARY_MISS = "vary-miss"
    MISS = "miss"
    REQUEST = "request"
    STALE = "stale"
    PARTIAL = "partial"


STALE_WHILE_REVALIDATE: Final = "stale-while-revalidate"  # details: why a stale response serves
STALE_IF_ERROR: Final = "stale-if-error"
_REASON: Final = re.compile(r"fwd=[a-z-]+")
# As `_detail` writes it: a token or a string.
_DETAIL: Final = re.compile(r'; detail=("(?:[^"\\]|\\.)*"|[^; "]+)')
_ESCAPED: Final = re.compile(r"\\(.)")
_DETAIL_LIMIT: Final = 80  # characters; a field is no place for a story


def hit(*, ttl_s: int | None = None, detail: str = "") -> str:
    """The outcome of a request that was answered from the store; None: never stale."""
    return "hit" + _parameter("ttl", ttl_s) + _detail(detail)


def forwarded(
    reason: Forward,
    *,
    status: int | None = None,
    ttl_s: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    detail: str = "",
) -> str:
    """The outcome of a request that went to the keeper and, unless collapsed, to an upstream."""
    flags = ("; stored" if stored else "") + ("; collapsed" if collapsed else "")
    return (
        f"fwd={reason.value}"
        + _parameter("fwd-status", status)
        + _parameter("ttl", ttl_s)
        + flags
        + _detail(detail)
    )


def with_reason(outcome: str, reason: Forward) -> str:
    """Return `outcome` with the worker's reason in place of the keeper's; a hit has none."""
    return _REASON.sub(f"fwd={reason.value}", outcome, count=1)


def with_ttl(outcome: str, ttl_s: int | None) -> str:
    """Return `outcome` saying how fresh the response is, unless it does; None: it never ends."""
    if ttl_s is None or "; ttl=" in outcome:
        return outcome
    kind, separator, parameters = outcome.partition("; ")
    return f"{kind}; ttl={ttl_s}{separator}{parameters}"


def with_detail(outcome: str, detail: str) -> str:
    """Return `outcome` saying `detail` too; a parameter stands once, so two share its value."""
    found = _DETAIL.search(outcome)
    if found is None:
        return outcome + _detail(detail)
    said = found[1]
    if said.startswith('"'):
        said = _ESCAPED.sub(r"\1", said[1:-1])
    return outcome[: found.start()] + _detail(f"{said}, {detail}") + outcome[found.end() :]


def cache_status(name: str, outcome: str) -> bytes:
    """The field value: `rust-mirror; hit; ttl=57`."""
    return f"{bare_item(name)}; {outcome}".encode("ascii")


def _parameter(key: str, number: int | None) -> str:
    return "" if number is None else f"; {key}={number}"


def _detail(detail: str) -> str:
    return f"; detail={bare_item(detail[:_DETAIL_LIMIT])}" if detail else ""
