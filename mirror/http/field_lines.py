"""Text of strangers made safe to show: request targets and field values for logs and events.

Rules:
1. Printable ASCII stays; every other byte, the quote and the backslash become `\\xhh`. Control
   characters, line ends, escapes and bidirectional marks cannot act on a reader's terminal.
2. The result is bounded, whatever comes in.

Runs in: both. Pure.
"""

from __future__ import annotations

import re
from typing import Final

_UNSAFE: Final = re.compile(rb'[^\x20-\x7e]|["\\]')
LOGGED_BYTES: Final = 2048  # of one hostile value; a request line may be several times longer


def loggable(raw: bytes, limit_bytes: int = LOGGED_BYTES) -> str:
    """Escape at most `limit_bytes` of `raw`; what was cut is marked by its size."""
    shown = _UNSAFE.sub(lambda found: b"\\x%02x" % found[0][0], raw[:limit_bytes]).decode("ascii")
    cut_bytes = len(raw) - limit_bytes
    return f"{shown}… ({cut_bytes} bytes more)" if cut_bytes > 0 else shown
