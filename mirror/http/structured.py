"""Writing structured fields: RFC 9651 section 4.1, as far as the fields of this product need it.

Rules:
1. No value can break a field: what is not printable ASCII is replaced.

Runs in: both. Pure.
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_NOT_PRINTABLE: Final = re.compile(r"[^\x20-\x7e]")


def bare_item(text: str) -> str:
    """Return a token where possible, else a string."""
    return text if _TOKEN.fullmatch(text) else string(text)


def string(text: str) -> str:
    """Return a string (section 3.3.3)."""
    safe = _NOT_PRINTABLE.sub("?", text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{safe}"'
