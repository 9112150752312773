"""The Proxy-Status field: RFC 9209, on answers made here because of an upstream or the keeper.

Rules:
1. One member, this mirror: what an upstream's own field said belongs to its answer, and none of
   that is passed on with an answer made here.
2. `error` is one of the RFC's types. What it has no word for (content that failed its check) has
   none: an invented token would be taken for a registered one.
3. No next hop, and no words of an upstream: addresses and texts of others stay in the events.
4. `details` is one word of the caller's own closed set.

Runs in: worker. Pure.
"""

from __future__ import annotations

from mirror.errors import ErrorType
from mirror.http.structured import bare_item, string


def proxy_status(
    name: str,
    error_type: ErrorType | None = None,
    *,
    received_status: int = 0,
    details: str = "",
) -> bytes:
    """Return the field value; `received_status` 0: no upstream answered, or none was asked."""
    value = bare_item(name)
    if error_type is not None:
        value += f"; error={error_type.value}"
    if received_status:
        value += f"; received-status={received_status}"
    if details:
        # A String by definition (section 2.1.5), also where it looks like a token.
        value += f"; details={string(details)}"
    return value.encode("ascii")
