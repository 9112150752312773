"""The exception tree: whose fault an error is decides its class.

Rules:
1. Every error of this product derives from `MirrorError`.
2. Constructors take values, not prose; the sentence is made here, once.
3. `hint` says what the reader can do next; it is shown to operators, never to anonymous clients.

Runs in: worker, keeper, supervisor, commands.
"""

from __future__ import annotations

import enum


class ErrorType(enum.Enum):
    """What went wrong between this mirror and an upstream: the proxy error types of RFC 9209
    section 2.3 that can happen here, a closed set that clients may read."""

    DNS_TIMEOUT = "dns_timeout"
    DNS_ERROR = "dns_error"
    DESTINATION_UNAVAILABLE = "destination_unavailable"
    DESTINATION_IP_UNROUTABLE = "destination_ip_unroutable"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_TERMINATED = "connection_terminated"
    CONNECTION_TIMEOUT = "connection_timeout"
    CONNECTION_READ_TIMEOUT = "connection_read_timeout"
    CONNECTION_LIMIT_REACHED = "connection_limit_reached"
    TLS_PROTOCOL_ERROR = "tls_protocol_error"
    TLS_CERTIFICATE_ERROR = "tls_certificate_error"
    TLS_ALERT_RECEIVED = "tls_alert_received"
    HTTP_RESPONSE_INCOMPLETE = "http_response_incomplete"
    HTTP_RESPONSE_BODY_SIZE = "http_response_body_size"
    HTTP_RESPONSE_CONTENT_CODING = "http_response_content_coding"
    HTTP_RESPONSE_TIMEOUT = "http_response_timeout"
    HTTP_PROTOCOL_ERROR = "http_protocol_error"
    PROXY_INTERNAL_ERROR = "proxy_internal_error"
    PROXY_CONFIGURATION_ERROR = "proxy_configuration_error"
    PROXY_LOOP_DETECTED = "proxy_loop_detected"


class MirrorError(Exception):
    """Anything this product raises on purpose.

    `source` names the object the error is about (a key, a URL, a path, a configuration key),
    `retryable` says whether the same call may succeed later, `status` is the HTTP status that a
    request which meets this error ends with, `hint` says what to do next.
    """

    def __init__(
        self, message: str, *, source: str, retryable: bool, status: int, hint: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.source = source
        self.retryable = retryable
        self.status = status
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class RequestError(MirrorError):
    """The client asked for something this server refuses; `status` is 4xx or 501."""

    def __init__(self, status: int, reason: str, *, close: bool = True) -> None:
        super().__init__(reason, source="client", retryable=False, status=status)
        self.close = close


class UpstreamError(MirrorError):
    """An upstream did not answer, or answered with something unusable; never becomes a 404."""

    def __init__(
        self,
        source: str,
        reason: str,
        *,
        upstream_status: int = 0,
        retry_after_s: float = 0.0,
        retryable: bool = True,
        status: int = 503,
        error_type: ErrorType | None = None,
    ) -> None:
        """`error_type` None: nothing that RFC 9209 has a word for."""
        super().__init__(
            f"upstream {source}: {reason}", source=source, retryable=retryable, status=status
        )
        self.error_type = error_type
        self.reason = reason
        self.upstream_status = upstream_status
        self.retry_after_s = retry_after_s


class DiskTrouble(enum.Enum):
    """What ails the disk below the store, so that nothing can be stored at the moment."""

    FULL = "disk-full"
    FAILING = "disk-error"
    READ_ONLY = "read-only"
    OPEN_FILES = "open-files"
    MISSING = "directory-missing"
    FLOOR = "free-floor"
    INODES = "free-inodes"


class StoreError(MirrorError):
    """The local store cannot do what was asked: disk full, I/O error, wrong owner or format.

    `noun` is "state" for paths below the state directory. `trouble` None: it is about this object
    or call, others need not meet it.
    """

    def __init__(
        self,
        source: str,
        reason: str,
        *,
        hint: str = "",
        retryable: bool = True,
        noun: str = "store",
        trouble: DiskTrouble | None = None,
    ) -> None:
        super().__init__(
            f"{noun} {source}: {reason}", source=source, retryable=retryable, status=503, hint=hint
        )
        self.trouble = trouble


class VerificationError(MirrorError):
    """Bytes disagree with what their publisher said; they are never served."""

    def __init__(self, source: str, *, expected: str, got: str) -> None:
        super().__init__(
            f"{source}: expected {expected}, got {got}", source=source, retryable=True, status=502
        )
        self.expected = expected
        self.got = got


class ConfigError(MirrorError):
    """The configuration names something unknown, impossible or not available."""

    def __init__(self, key: str, value: object, allowed: str, *, is_shown: bool = True) -> None:
        """`is_shown` is false where the value may be a secret: of a key that nobody knows."""
        given = f"{key} = {value!r}" if is_shown else key
        super().__init__(f"{given}: {allowed}", source=key, retryable=False, status=500)
        self.key = key
        self.value = value
        self.allowed = allowed
