"""The CDN-Loop field: RFC 8586. A request that carries our own identifier has been here before.

Rules:
1. Identifiers compare without regard to case; parameters do not count.
2. A comma or a name inside a quoted parameter is not an identifier.
3. A malformed value is read so that a loop is rather seen than missed.

Does not write the field: `upstream` sends `CDN-Loop: <token>` with its requests.

Runs in: both. Pure.
"""

from __future__ import annotations

import re
from typing import Final

# A quote that never closes stays as it is, and the commas behind it separate (rule 3).
_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def cdn_ids(value: bytes) -> tuple[bytes, ...]:
    """The identifiers of the list in order, in lower case, without parameters."""
    members = _QUOTED.sub(b"", value).split(b",")
    names = (member.split(b";", 1)[0].strip(b" \t").lower() for member in members)
    return tuple(name for name in names if name)


def contains_token(value: bytes | None, token: bytes) -> bool:
    """Whether `token` is one of the identifiers in a CDN-Loop value (None: not sent)."""
    return value is not None and token.lower() in cdn_ids(value)
