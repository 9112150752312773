"""`mirror.upstream.response`: short content is never a success; reasons are plain words."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest
from multidict import CIMultiDict

from mirror.errors import ErrorType, UpstreamError
from mirror.upstream.asking import NOTHING_STATED, Answer, Stated
from mirror.upstream.response import UpstreamResponse, error_type_of, join_fields, reason_of
from tests.unit.upstream.scripted_origin import RecordingMeter


class FakeRaw:
    """As much of a client response as is read; its content ends without complaint."""

    url = "http://origin/x"

    def __init__(self, status: int, chunks: list[bytes], **fields: str) -> None:
        self.status = status
        self.headers = CIMultiDict({name.replace("_", "-"): v for name, v in fields.items()})
        self.content = self
        self._chunks = chunks

    async def iter_any(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


def response_of(
    raw: FakeRaw, broken: list[str], stated: Stated = NOTHING_STATED
) -> UpstreamResponse:
    received = cast(aiohttp.ClientResponse, raw)
    return UpstreamResponse(
        Answer(
            raw.status,
            raw.url,
            join_fields(received),
            received,
            exchange=RecordingMeter().exchange("crates", "u", "/x", method="GET", attempt=1),
            stated=stated,
        ),
        on_broken=broken.append,
    )


@pytest.mark.parametrize("length", ["3", "5"])
async def test_content_of_another_length_than_announced_is_an_error(length: str) -> None:
    broken: list[str] = []
    response = response_of(FakeRaw(200, [b"ab", b"cd"], Content_Length=length), broken)
    with pytest.raises(UpstreamError, match="another length than announced after 4 bytes"):
        [chunk async for chunk in response.chunks()]
    assert broken == ["the content has another length than announced after 4 bytes of content"]


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        pytest.param(200, {"Content_Length": "4"}, id="agrees"),
        pytest.param(200, {}, id="unknown"),
        pytest.param(200, {"Content_Length": "x"}, id="nonsense"),
        pytest.param(304, {"Content_Length": "9"}, id="not-modified"),
        pytest.param(200, {"Content_Length": "9", "Transfer_Encoding": "chunked"}, id="chunked"),
    ],
)
async def test_content_is_yielded_whole(status: int, fields: dict[str, str]) -> None:
    broken: list[str] = []
    response = response_of(FakeRaw(status, [b"ab", b"cd"], **fields), broken)
    assert [chunk async for chunk in response.chunks()] == [b"ab", b"cd"]
    assert response.received_bytes == 4
    assert broken == []


NOTHING: Any = None


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (TimeoutError(), "no answer in time"),
        (aiohttp.ServerTimeoutError(), "no answer in time"),
        (
            aiohttp.ClientConnectorCertificateError(NOTHING, ssl.CertificateError("expired")),
            "its certificate is not accepted: no reason given",
        ),
        (aiohttp.ClientHttpProxyError(NOTHING, (), status=407), "the egress proxy answered 407"),
        (
            aiohttp.ClientConnectorError(NOTHING, OSError(111, "Connection refused")),
            "cannot connect: Connection refused",
        ),
        (aiohttp.ClientPayloadError("x"), "the content broke off"),
        (aiohttp.ServerDisconnectedError(), "the connection broke"),
        (asyncio.IncompleteReadError(b"", 1), "the connection broke"),
    ],
)
def test_a_reason_names_no_library(failure: BaseException, reason: str) -> None:
    assert reason_of(failure) == reason


def connector_error(exc: OSError) -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(cast(Any, None), exc)


def dns_error(exc: OSError) -> aiohttp.ClientConnectorDNSError:
    return aiohttp.ClientConnectorDNSError(cast(Any, None), exc)


def tls_error(reason: str) -> aiohttp.ClientConnectorSSLError:
    exc = ssl.SSLError(1, f"[SSL: {reason}]")
    exc.reason = reason
    return aiohttp.ClientConnectorSSLError(cast(Any, None), exc)


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (aiohttp.ConnectionTimeoutError(), "connection_timeout"),
        (aiohttp.SocketTimeoutError(), "connection_read_timeout"),
        (TimeoutError(), "http_response_timeout"),
        (dns_error(socket.gaierror(socket.EAI_NONAME, "unknown")), "dns_error"),
        (dns_error(OSError(None, "resolving took longer")), "dns_timeout"),
        (connector_error(OSError(errno.ECONNREFUSED, "")), "connection_refused"),
        (connector_error(OSError(errno.ETIMEDOUT, "")), "connection_timeout"),
        (connector_error(OSError(errno.ENETUNREACH, "")), "destination_ip_unroutable"),
        (connector_error(OSError(errno.EACCES, "")), "destination_unavailable"),
        (tls_error("WRONG_VERSION_NUMBER"), "tls_protocol_error"),
        (tls_error("TLSV1_ALERT_PROTOCOL_VERSION"), "tls_alert_received"),
        (ssl.SSLCertVerificationError(1, "no"), "tls_certificate_error"),
        (aiohttp.ServerDisconnectedError(), "connection_terminated"),
        (aiohttp.ClientOSError(errno.ECONNRESET, ""), "connection_terminated"),
        (ConnectionResetError(errno.ECONNRESET, ""), "connection_terminated"),
        (EOFError(), "connection_terminated"),
        (aiohttp.ClientPayloadError(), "http_response_incomplete"),
        (aiohttp.ClientHttpProxyError(cast(Any, None), (), status=407), "destination_unavailable"),
        (aiohttp.ClientResponseError(cast(Any, None), ()), "http_protocol_error"),
    ],
)
def test_a_failure_has_the_nearest_type_of_rfc_9209(exc: BaseException, expected: str) -> None:
    assert error_type_of(exc) is ErrorType(expected)
