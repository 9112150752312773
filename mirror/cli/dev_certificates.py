"""What `rust-mirror dev-cert` writes: an authority, a server certificate, their keys.

Rules:
1. The authority may sign leaves only (path length 0), the leaf is no authority and is for servers
   only, its names stand in subjectAltName (RFC 5280, RFC 9525): what rustup's webpki asks for.
2. Keys are written with mode 0600 from the first byte. Every file is written beside its place and
   renamed, so that a running mirror never reads half of one.
3. An authority that is there is used again, so that clients need no other; it is never replaced.
4. Validity begins an hour ago, because clocks differ, and counts from there.

Runs in: commands (`cryptography` is imported here; `serve` never imports this).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mirror.errors import ConfigError

_AUTHORITY_DAYS = 1825
_CLOCKS_DIFFER = timedelta(hours=1)
_ORGANIZATION = "rust-mirror dev-cert"
_LONGEST_COMMON_NAME = 64  # ub-common-name of RFC 5280
_SIGNS = {"key_cert_sign": True, "crl_sign": True}
_AUTHENTICATES = {"digital_signature": True}
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Where the files are."""

    authority: Path
    authority_key: Path
    certificate: Path
    private_key: Path
    not_after: datetime
    is_new_authority: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make(folder: Path, names: Sequence[str], days: int, *, replaces: bool) -> Made:
    """Write what is missing into `folder`; `replaces`: also a leaf that is there.

    Raises: ConfigError when that is not possible.
    """
    authority, authority_key = folder / "ca.pem", folder / "ca-key.pem"
    certificate, private_key = folder / "certificate.pem", folder / "private-key.pem"
    present = [path for path in (certificate, private_key) if os.path.lexists(path)]
    if present and not replaces:
        allowed = f"a directory without {present[0].name}; --force replaces it"
        raise ConfigError("--out", str(folder), allowed)
    begins = datetime.now(UTC).replace(microsecond=0) - _CLOCKS_DIFFER
    ends = begins + timedelta(days=days)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = _read_authority(authority, authority_key)
        signer = found or _new_authority(begins)
        _check_reach(signer, ends, authority)
        if found is None:
            _write(authority_key, _key_pem(signer.key), 0o600)
            _write(authority, _certificate_pem(signer.certificate), 0o644)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _leaf(signer, key, names, (begins, ends))
        _write(private_key, _key_pem(key), 0o600)
        _write(certificate, _certificate_pem(leaf), 0o644)
    except OSError as exc:
        allowed = f"a directory that this user can write ({exc.strerror})"
        raise ConfigError("--out", str(folder), allowed) from exc
    return Made(
        authority=authority,
        authority_key=authority_key,
        certificate=certificate,
        private_key=private_key,
        not_after=leaf.not_valid_after_utc,
        is_new_authority=found is None,
    )


def _read_authority(certificate: Path, key: Path) -> _Authority | None:
    if not os.path.lexists(certificate) and not os.path.lexists(key):
        return None
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        signing = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(signing, ec.EllipticCurvePrivateKey):
            raise ValueError("not a key of this command")
        if signing.public_key() != found.public_key():
            raise ValueError("not a pair")
        found.verify_directly_issued_by(found)
    except (OSError, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as exc:
        allowed = (
            f"a directory whose {certificate.name} and {key.name} are an authority and its key, "
            "as this command wrote them, or without both"
        )
        raise ConfigError("--out", str(certificate.parent), allowed) from exc
    return _Authority(certificate=found, key=signing)


def _check_reach(signer: _Authority, ends: datetime, path: Path) -> None:
    last = signer.certificate.not_valid_after_utc
    if last < ends:
        allowed = f"few enough to end before {path} does, on {last:%Y-%m-%d}; or remove that file"
        raise ConfigError("--days", (ends - last).days + 1, f"{allowed} and ca-key.pem")


def _new_authority(begins: datetime) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own: clients may hold several, and find an issuer by its name.
    name = _name(f"{_ORGANIZATION} CA {secrets.token_hex(4)}")
    builder = _builder(name, name, key.public_key(), begins, timedelta(days=_AUTHORITY_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(_SIGNS), critical=True)
    return _Authority(certificate=builder.sign(key, hashes.SHA256()), key=key)


def _leaf(
    signer: _Authority,
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    validity: tuple[datetime, datetime],
) -> x509.Certificate:
    begins, ends = validity
    issuer = signer.certificate.subject
    builder = _builder(_name(names[0]), issuer, key.public_key(), begins, ends - begins)
    identifier = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    for extension, is_critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(_AUTHENTICATES), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
        (
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value),
            False,
        ),
    ):
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(signer.key, hashes.SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begins: datetime,
    lasts: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION)]
    if len(common) <= _LONGEST_COMMON_NAME:
        parts.append(x509.NameAttribute(NameOID.COMMON_NAME, common))
    return x509.Name(parts)


def _general_name(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _key_usage(granted: dict[str, bool]) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: granted.get(usage, False) for usage in _USAGES})


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes, mode: int) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.ExitStack() as stack:
        fd = os.open(beside, flags, 0o600)
        stack.callback(beside.unlink, missing_ok=True)
        with open(fd, "wb") as file:
            file.write(content)
            os.fchmod(fd, mode)
        os.replace(beside, path)
