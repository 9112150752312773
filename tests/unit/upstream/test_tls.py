"""Upstreams over TLS: `ca_file` adds an authority, and the name that is checked is the URL's."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mirror.clock import SystemClock
from mirror.config import Releases, Upstream
from mirror.errors import ErrorType, UpstreamError
from mirror.upstream.pools import Pools, open_pools
from tests.unit.upstream.scripted_origin import RecordingLog, RecordingMeter, reply

NAME = "static.example"
_CUT = {
    b"/length": reply(200, b"over tls", length=1000),
    b"/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nover tls\r\n",
}


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
async def tls_origin(tmp_path: Path) -> AsyncIterator[int]:
    """A TLS server for `NAME`, its authority in `ca.pem`; yields its port."""
    authority, leaf = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    pem = _certificate("Test CA", authority, "Test CA", authority, is_authority=True)
    (tmp_path / "ca.pem").write_bytes(pem)
    chain = tmp_path / "leaf.pem"
    chain.write_bytes(
        leaf.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + _certificate(NAME, leaf, "Test CA", authority, is_authority=False)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if answer := _CUT.get(head.split()[1]):
            writer.write(answer)
            await writer.drain()
            writer.transport.abort()  # no close_notify
            return
        writer.write(reply(200, b"over tls", "Connection: close"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


def pools_to(port: int, *, host: str = NAME, ca_file: str = "") -> Pools:
    config = Upstream(
        attempts=1,
        ca_file=ca_file,
        releases=Releases(urls=(f"https://{host}",), connect_to=f"127.0.0.1:{port}"),
    )
    return open_pools(
        config, own_token="t", meter=RecordingMeter(), clock=SystemClock(), log=RecordingLog()
    )


async def test_a_private_authority_is_accepted_when_configured(
    tls_origin: int, tmp_path: Path
) -> None:
    pools = pools_to(tls_origin, ca_file=str(tmp_path / "ca.pem"))
    async with pools["releases"].get("/x") as response:
        assert b"".join([chunk async for chunk in response.chunks()]) == b"over tls"
    await pools.aclose()


@pytest.mark.parametrize("path", ["/length", "/chunked"])
async def test_a_cut_without_close_notify_is_a_body_that_broke(
    path: str, tls_origin: int, tmp_path: Path
) -> None:
    pools = pools_to(tls_origin, ca_file=str(tmp_path / "ca.pem"))
    async with pools["releases"].get(path) as response:
        assert response.status == 200
        with pytest.raises(UpstreamError) as caught:
            [chunk async for chunk in response.chunks()]
    assert caught.value.retryable
    assert "bytes of content" in caught.value.reason
    await pools.aclose()


@pytest.mark.parametrize(
    ("host", "with_authority", "verdict"),
    [
        pytest.param(NAME, False, "unable to get local issuer", id="unknown-authority"),
        pytest.param("other.example", True, "Hostname mismatch", id="attack-another-name"),
    ],
)
async def test_a_certificate_that_does_not_vouch_for_the_name_is_refused(
    tls_origin: int, tmp_path: Path, host: str, with_authority: bool, verdict: str
) -> None:
    pools = pools_to(
        tls_origin, host=host, ca_file=str(tmp_path / "ca.pem") if with_authority else ""
    )
    match = f"certificate is not accepted: {verdict}"
    with pytest.raises(UpstreamError, match=match) as caught:
        async with pools["releases"].get("/x"):
            pass
    assert caught.value.error_type is ErrorType.TLS_CERTIFICATE_ERROR
    await pools.aclose()
