"""One upstream response: status, fields, and content as it arrives.

Rules:
1. Fields have lower-case names; several lines of one field are joined by ", ".
2. Content comes as the network brings it (never cut to size: that halves the rate, see
   `docs/` on performance), byte for byte: content codings are the caller's business.
3. Content shorter than announced is an `UpstreamError`, never a short success.
4. Where nobody vouches for the content, a CRC32 that the store states is compared as it comes
   (2.4 GB/s measured): it finds what a path garbles, and is no proof of anything.
5. Reading is paced where the upstream's budget says so; what is not read the kernel holds back, and
   upstream stops sending. The first bytes of each response are counted and not waited for: proofs
   and index files stay quick behind big bodies, which pay for them.

Does not: follow redirects, retry, or cap the length (the caller counts).
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp

from mirror.errors import ErrorType, UpstreamError
from mirror.upstream.asking import Answer

UNPACED_BYTES = 65536  # of each response; most index files and all proofs are shorter

# What a broken connection looks like from inside aiohttp; nothing of it leaves this room.
BROKEN = (aiohttp.ClientError, asyncio.TimeoutError, OSError, EOFError)

_BY_ERRNO = {
    errno.ECONNREFUSED: ErrorType.CONNECTION_REFUSED,
    errno.ETIMEDOUT: ErrorType.CONNECTION_TIMEOUT,
    errno.EHOSTUNREACH: ErrorType.DESTINATION_IP_UNROUTABLE,
    errno.ENETUNREACH: ErrorType.DESTINATION_IP_UNROUTABLE,
    errno.EADDRNOTAVAIL: ErrorType.DESTINATION_IP_UNROUTABLE,
    errno.ECONNRESET: ErrorType.CONNECTION_TERMINATED,
    errno.EPIPE: ErrorType.CONNECTION_TERMINATED,
}


class UpstreamResponse:
    """Made by `Pool.get` and valid inside its `async with` only."""

    def __init__(
        self,
        answer: Answer,
        *,
        on_broken: Callable[[str], None],
        is_vouched: bool = False,
        pace: Callable[[int], float] | None = None,
    ) -> None:
        """`pace` is told what was read and returns how long to wait; None: no limit."""
        self.status = answer.status
        self.url = answer.url
        self.fields = answer.fields
        self.stated_sha256 = answer.stated.sha256  # of the whole content; b"": not stated
        self.received_bytes = 0
        self._answer = answer
        self._on_broken = on_broken
        self._pace = pace
        self._stated_crc32 = -1 if is_vouched else answer.stated.crc32
        self._announced = _announced_length(answer.status, self.fields)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content once.

        Raises: UpstreamError (retryable) when the body breaks, stalls, or ends early.
        """
        stated, crc = self._stated_crc32, 0
        try:
            async for chunk in self._answer.content():
                self.received_bytes += len(chunk)
                if self._pace is not None:
                    await self._wait_for_turn(self._pace(len(chunk)))
                if stated >= 0:
                    crc = zlib.crc32(chunk, crc)
                yield chunk
        except BROKEN as exc:
            raise self._broken(reason_of(exc), error_type_of(exc)) from exc
        if self._announced not in (-1, self.received_bytes):
            incomplete = ErrorType.HTTP_RESPONSE_INCOMPLETE
            raise self._broken("the content has another length than announced", incomplete)
        if stated >= 0 and crc != stated:
            raise self._broken("the content has another CRC32 than its store states", None)

    async def _wait_for_turn(self, wait_s: float) -> None:
        if wait_s > 0 and self.received_bytes > UNPACED_BYTES:
            await asyncio.sleep(wait_s)

    def _broken(self, reason: str, error_type: ErrorType | None) -> UpstreamError:
        reason = f"{reason} after {self.received_bytes} bytes of content"
        self._answer.broke(reason)
        self._on_broken(reason)
        return UpstreamError(self.url, reason, upstream_status=self.status, error_type=error_type)

    def __repr__(self) -> str:
        return f"<UpstreamResponse {self.status} {self.url} {self.received_bytes} bytes>"


def join_fields(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the fields with lower-case names, lines joined."""
    fields: dict[str, str] = {}
    for name, value in response.headers.items():
        lower = name.lower()
        fields[lower] = f"{fields[lower]}, {value}" if lower in fields else value
    return fields


def head_bytes_of(response: aiohttp.ClientResponse) -> int:
    """Return the length of the head, rebuilt: optional white space of its lines is not kept."""
    # "HTTP/1.1 200 " and the two ends of line
    start_bytes = 13 + len(response.reason or "") + 4
    return start_bytes + sum(len(name) + len(value) + 4 for name, value in response.raw_headers)


def reason_of(exc: BaseException) -> str:
    """Return one plain sentence part without the library's names."""
    if isinstance(exc, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        verdict = getattr(exc.certificate_error, "verify_message", "") or "no reason given"
        return f"its certificate is not accepted: {verdict}"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return f"cannot connect: {exc.os_error.strerror or exc.os_error}"
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return f"the egress proxy answered {exc.status}"
    if isinstance(exc, aiohttp.ClientPayloadError):
        return "the content broke off"
    if isinstance(exc, aiohttp.ClientResponseError):
        return "it does not speak HTTP"
    return "the connection broke"


def error_type_of(exc: BaseException) -> ErrorType:
    """Return the proxy error type of a failure (RFC 9209 section 2.3), the nearest one there is."""
    if isinstance(exc, asyncio.TimeoutError):
        return _type_of_timeout(exc)
    if isinstance(exc, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return ErrorType.TLS_CERTIFICATE_ERROR
    if isinstance(exc, aiohttp.ClientConnectorDNSError | socket.gaierror):
        # The resolver's own time-out has no number (`UpstreamResolver.resolve`).
        is_timeout = getattr(exc, "errno", None) is None
        return ErrorType.DNS_TIMEOUT if is_timeout else ErrorType.DNS_ERROR
    if isinstance(exc, aiohttp.ClientConnectorError):
        return _type_of_os_error(exc.os_error, ErrorType.DESTINATION_UNAVAILABLE)
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return ErrorType.DESTINATION_UNAVAILABLE
    if isinstance(exc, aiohttp.ClientPayloadError):
        return ErrorType.HTTP_RESPONSE_INCOMPLETE
    if isinstance(exc, aiohttp.ClientResponseError):
        return ErrorType.HTTP_PROTOCOL_ERROR
    if isinstance(exc, OSError):
        return _type_of_os_error(exc, ErrorType.CONNECTION_TERMINATED)
    return ErrorType.CONNECTION_TERMINATED


def _type_of_timeout(exc: BaseException) -> ErrorType:
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return ErrorType.CONNECTION_TIMEOUT
    if isinstance(exc, aiohttp.SocketTimeoutError):
        return ErrorType.CONNECTION_READ_TIMEOUT
    return ErrorType.HTTP_RESPONSE_TIMEOUT


def _type_of_os_error(exc: OSError, otherwise: ErrorType) -> ErrorType:
    if isinstance(exc, ssl.SSLError):
        is_alert = "ALERT" in (exc.reason or "")
        return ErrorType.TLS_ALERT_RECEIVED if is_alert else ErrorType.TLS_PROTOCOL_ERROR
    return _BY_ERRNO.get(exc.errno or 0, otherwise)


def _announced_length(status: int, fields: Mapping[str, str]) -> int:
    """RFC 9112 section 6: a 304 has no content; a transfer coding overrides Content-Length."""
    if status == 304 or "transfer-encoding" in fields:
        return -1
    value = fields.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else -1
