"""What an HTTP/2 session tells the connection that owns it.

Rules:
1. Every `RequestReceived` and `RequestRefused` stream is answered or reset by the application,
   unless a `StreamReset` or a `ConnectionFailed` comes first.
2. Requests that are malformed never appear: their streams are reset inside the session.

Units: bytes.
Runs in: worker. Pure, declarations only.
"""

from __future__ import annotations

from dataclasses import dataclass

from mirror.http.h2_errors import Code
from mirror.http.h2_fields import RequestFields
from mirror.http.h2_memo import CutBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReceived:
    """A request's fields are here; `ends`: and nothing follows them.

    `block`: their bytes, when they may be learned.
    """

    stream_id: int
    fields: RequestFields
    ends: bool
    block: CutBlock | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused:
    """A request whose fields are more than is read: answer `status` (431).

    Its method is not known: answer without content.
    """

    stream_id: int
    status: int
    ends: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentReceived:
    """Request content came and was dropped. No window of its stream is ever opened again."""

    stream_id: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEnded:
    """The request that did not end with its fields is complete."""

    stream_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReset:
    """The stream is over before its response was: by the client, or for a fault of the client."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAllowed:
    """`allowance` grew from nothing: of this stream, or with 0 perhaps of any."""

    stream_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerReady:
    """The client acknowledged this server's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PingAnswered:
    """The client has read everything that was sent before a PING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerGoingAway:
    """The client will not open further streams; those that are open are still answered."""

    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFailed:
    """The client broke the connection's rules: send the output, then close. No event follows."""

    code: Code
    reason: str


Event = (
    RequestReceived
    | RequestRefused
    | ContentReceived
    | RequestEnded
    | StreamReset
    | SendAllowed
    | PeerReady
    | PingAnswered
    | PeerGoingAway
    | ConnectionFailed
)
