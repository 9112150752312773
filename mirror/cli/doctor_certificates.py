"""What `doctor` reads of the certificate and key files of `[serve.tls]`.

Runs in: commands (`cryptography` is imported here; `serve` never imports this).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from mirror.config import Serve
from mirror.doctor.certificates import Certificate, Chain
from mirror.doctor.entrances import own_ports
from mirror.doctor.findings import parse_base
from mirror.errors import ConfigError


def read_chain(serve: Serve, tls_listen: tuple[str, ...]) -> Chain:
    """Raises: ConfigError for a file that holds nothing usable, OSError."""
    tls = serve.tls
    with open(tls.certificate, "rb") as file:
        pem = file.read()
    with open(tls.private_key, "rb") as file:
        key_pem = file.read()
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as exc:
        allowed = "PEM certificates: the server's, then its intermediates"
        raise ConfigError("serve.tls.certificate", tls.certificate, allowed) from exc
    public = parse_base(serve.public_url)
    is_https = public is not None and public.scheme == "https"
    return Chain(
        path=tls.certificate,
        certificates=[
            _certificate(one, found[number + 1] if number + 1 < len(found) else None)
            for number, one in enumerate(found)
        ],
        fits_key=_fits(found[0], key_pem, tls.private_key),
        public_host=public.host if public is not None and is_https else "",
        is_at_door=public is not None and public.port in own_ports(tls_listen),
    )


def _certificate(one: x509.Certificate, following: x509.Certificate | None) -> Certificate:
    return Certificate(
        subject=one.subject.rfc4514_string(),
        issuer=one.issuer.rfc4514_string(),
        names=_names(one),
        not_before_at=one.not_valid_before_utc.timestamp(),
        not_after_at=one.not_valid_after_utc.timestamp(),
        is_issued_by_next=following is not None and _is_issued_by(one, following),
    )


def _is_issued_by(one: x509.Certificate, other: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(other)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _names(one: x509.Certificate) -> tuple[str, ...]:
    try:
        listed = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = [str(address) for address in listed.get_values_for_type(x509.IPAddress)]
    return (*listed.get_values_for_type(x509.DNSName), *addresses)


def _fits(one: x509.Certificate, key_pem: bytes, path: str) -> bool:
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError) as exc:  # never the library's words: they may quote the file
        allowed = "a PEM file with the private key, not encrypted"
        raise ConfigError("serve.tls.private_key", path, allowed) from exc
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    encoding = serialization.Encoding.DER
    public = one.public_key().public_bytes(encoding, form)
    return key.public_key().public_bytes(encoding, form) == public
