"""Flow control windows of an HTTP/2 connection (RFC 9113 section 5.2 and 6.9).

Rules:
1. A window to send into may be below zero after SETTINGS, and never above 2^31-1.
2. The connection's window for request content is opened again by half: content is dropped as it
   comes, and other streams need it. A stream's own is never opened again: request content is not
   accepted, and the answer does not wait for it.

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

from typing import Final

from mirror.http.h2_settings import DEFAULT_WINDOW_BYTES, MAX_WINDOW_BYTES

_OPEN_AT_BYTES: Final = DEFAULT_WINDOW_BYTES // 2


class SendWindow:
    """How much content the client admits: of one stream, or of the connection."""

    __slots__ = ("left_bytes",)

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes

    def __repr__(self) -> str:
        return f"<SendWindow {self.left_bytes}>"

    def grow(self, increment_bytes: int) -> bool:
        """Add; whether it was closed and no longer is. Raises: OverflowError."""
        was_closed = self.left_bytes <= 0
        grown = self.left_bytes + increment_bytes
        if grown > MAX_WINDOW_BYTES:
            raise OverflowError(grown)
        self.left_bytes = grown
        return was_closed and grown > 0


class ReceiveWindow:
    """How much content the client may still send on the connection."""

    __slots__ = ("_left_bytes",)

    def __init__(self) -> None:
        self._left_bytes = DEFAULT_WINDOW_BYTES

    def __repr__(self) -> str:
        return f"<ReceiveWindow {self._left_bytes}>"

    def take(self, size_bytes: int) -> int:
        """Count received bytes, padding included; the increment to announce, or 0."""
        # Never below 0, so no check for it: half of the window is two frames of the longest kind.
        self._left_bytes -= size_bytes
        if self._left_bytes > _OPEN_AT_BYTES:
            return 0
        increment = DEFAULT_WINDOW_BYTES - self._left_bytes
        self._left_bytes = DEFAULT_WINDOW_BYTES
        return increment
