"""SETTINGS of HTTP/2: reading a client's, and the list of this server's (RFC 9113 section 6.5).

Rules:
1. Every value is checked, also of one that a later line of the same frame replaces.
2. What this server does not use (table size, push, header list size) is checked and dropped:
   its field blocks never use a dynamic table, and it never pushes.
3. A frame of thousands of lines costs as much as thousands of frames; there is a limit.

Runs in: worker. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mirror.http.h2_errors import Code, H2ConnectionError
from mirror.http.h2_frames import MAX_FRAME_BYTES, settings_pairs

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

LINE_BYTES: Final = 6
MAX_WINDOW_BYTES: Final = 2**31 - 1
DEFAULT_WINDOW_BYTES: Final = 65_535
_LONGEST_FRAME_BYTES: Final = 2**24 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSettings:
    """The part of a client's SETTINGS that matters here; None: not mentioned."""

    initial_window_bytes: int | None = None


def parse_settings(payload: bytes, max_lines: int) -> PeerSettings:
    """Read a SETTINGS payload, also of an HTTP2-Settings field. Raises: H2ConnectionError."""
    if len(payload) % LINE_BYTES:
        raise H2ConnectionError(Code.FRAME_SIZE_ERROR, "SETTINGS have an impossible length.")
    if len(payload) > max_lines * LINE_BYTES:
        raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "SETTINGS have too many lines.")
    window: int | None = None
    for identifier, value in settings_pairs(payload):
        if identifier == INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW_BYTES:
                raise H2ConnectionError(Code.FLOW_CONTROL_ERROR, "The initial window is too large.")
            window = value
        elif identifier == ENABLE_PUSH:
            if value > 1:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1.")
        elif identifier == MAX_FRAME_SIZE:
            if not MAX_FRAME_BYTES <= value <= _LONGEST_FRAME_BYTES:
                raise H2ConnectionError(Code.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range.")
    return PeerSettings(initial_window_bytes=window)
