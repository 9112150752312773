"""Certificates for tests: the server's by `rust-mirror dev-cert`, and those that it does not make.

Runs in: tests.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mirror.cli.dev_certificates import Made, make

HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    private_key: Path


def make_server(folder: Path, *, replaces: bool = False) -> Made:
    """Write CA, certificate and key of a server on this machine."""
    return make(folder, HOSTS, 30, replaces=replaces)


def settings_of(made: Made | Pair) -> dict[str, str]:
    """Return the configuration of a server with that certificate."""
    return {
        "serve.tls_listen": "127.0.0.1:0",
        "serve.tls.certificate": str(made.certificate),
        "serve.tls.private_key": str(made.private_key),
    }


def client_context(authority: Path) -> ssl.SSLContext:
    """Return what a client that trusts `authority` alone connects with."""
    return ssl.create_default_context(cafile=str(authority))


def sign(
    folder: Path,
    name: str,
    by: Made,
    *,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    ends_in: timedelta = timedelta(days=30),
    lasts: timedelta = timedelta(days=60),
    is_self_signed: bool = False,
    has_names: bool = True,
) -> Pair:
    """Write a certificate for `localhost` signed by the CA of `by`; the end may have passed."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = x509.load_pem_x509_certificate(by.authority.read_bytes())
    signing = serialization.load_pem_private_key(by.authority_key.read_bytes(), None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    ends = datetime.now(UTC) + ends_in
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if is_self_signed else authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - lasts)
        .not_valid_after(ends)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if has_names:
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        builder = builder.add_extension(names, critical=False)
    leaf = builder.sign(key if is_self_signed else signing, hashes.SHA256())
    pair = Pair(certificate=folder / f"{name}.pem", private_key=folder / f"{name}-key.pem")
    pair.certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    pair.private_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pair
