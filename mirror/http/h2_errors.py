"""Error codes of HTTP/2, and the two kinds of fault a client can make (RFC 9113 sections 5.4, 7).

Rules:
1. A reason is a constant in ASCII: it is sent in GOAWAY, and says nothing that the client sent.

Runs in: worker. Pure.
"""

from __future__ import annotations

import enum

from mirror.errors import RequestError


class Code(enum.IntEnum):
    """Error codes of RST_STREAM and GOAWAY."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class H2ConnectionError(RequestError):
    """The client broke the connection's rules: GOAWAY and close (section 5.4.1)."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(400, reason)
        self.code = code


class H2StreamError(RequestError):
    """The client broke one stream's rules: RST_STREAM, never a response (section 5.4.2)."""

    def __init__(self, stream_id: int, code: Code, reason: str) -> None:
        super().__init__(400, reason, close=False)
        self.stream_id = stream_id
        self.code = code


def protocol_error(reason: str) -> H2ConnectionError:
    """Return the fault that most rules name."""
    return H2ConnectionError(Code.PROTOCOL_ERROR, reason)


def size_error(noun: str) -> H2ConnectionError:
    """Return the fault of a frame whose length its type does not admit."""
    return H2ConnectionError(Code.FRAME_SIZE_ERROR, f"{noun} has an impossible length.")


def malformed(stream_id: int, reason: str) -> H2StreamError:
    """Return the fault of a malformed message (section 8.1.1)."""
    return H2StreamError(stream_id, Code.PROTOCOL_ERROR, reason)
