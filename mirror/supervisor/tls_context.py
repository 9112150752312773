"""The TLS context of the server, from the files that the configuration names.

Rules:
1. A context is built before workers are forked and shared by all of them: the keys that encrypt
   session tickets live in it, so a session resumes on any worker, also on one that was restarted.
   The standard library sets the session id context ("Python") that resumption needs where client
   certificates are asked for.
2. TLS 1.2 or later; of 1.2 only AEAD ciphers with forward secrecy (RFC 9325 section 4.2, and what
   RFC 9113 section 9.2.2 leaves to HTTP/2). No compression (CRIME), no renegotiation.
3. A context that was returned has completed a handshake in memory (`tls_probe`).
4. An error names the key and the file and says what to do; it never shows what a key file holds.

Not done: rotating the keys of session tickets within one context (the standard library has no
access). They are as old as the context: since the start, or the last change of the certificate.
Under TLS 1.3 a resumed session has a key exchange of its own, so an old ticket key opens nothing
that was recorded.

Units: Unix seconds.
Runs in: supervisor, commands.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass

from mirror.config import Serve, ServeTls
from mirror.errors import ConfigError
from mirror.supervisor.tls_probe import ShownCertificate, shown_certificate

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY = {
    "off": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_CERTIFICATE_KEY = "serve.tls.certificate"
_PRIVATE_KEY_KEY = "serve.tls.private_key"
_CLIENT_CA_KEY = "serve.tls.client_ca"

# (inode, size, time of the last change in ns, mode, owner, group) of each file: what changes when
# one is replaced, or when its permissions are put right
Identity = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Credentials:
    """A context that works, what it shows, and the state of the files that it was read from."""

    context: ssl.SSLContext
    shown: ShownCertificate
    settings: ServeTls
    identity: Identity


def load_credentials(serve: Serve) -> Credentials | None:
    """Return what TLS connections are accepted with; None when no certificate is configured.

    Raises: ConfigError naming the file that cannot be used, and why.
    """
    tls = serve.tls
    if not tls.certificate:
        return None
    identity = identity_of(tls)  # before reading: a later change is then seen as one
    _check_files(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(_protocols(serve))
    _load_chain(context, tls)
    shown = _probe(context, tls)
    _ask_clients(context, tls)
    return Credentials(context=context, shown=shown, settings=tls, identity=identity)


def identity_of(tls: ServeTls) -> Identity:
    """Return what tells apart one state of the files from another; None for an absent file."""
    return tuple(
        _identity(path) for path in (tls.certificate, tls.private_key, tls.client_ca) if path
    )


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    access = (status.st_mode, status.st_uid, status.st_gid)
    return status.st_ino, status.st_size, status.st_mtime_ns, *access


def _protocols(serve: Serve) -> list[str]:
    """What ALPN offers (RFC 7301), the preferred one first."""
    http2 = getattr(serve, "http2", None)
    return ["h2", "http/1.1"] if getattr(http2, "enabled", False) else ["http/1.1"]


def _check_files(tls: ServeTls) -> None:
    """Find what OpenSSL would call "PEM lib", whatever is wrong."""
    if b"-----BEGIN CERTIFICATE-----" not in _read(_CERTIFICATE_KEY, tls.certificate):
        allowed = "a file with the server's certificate in PEM form (BEGIN CERTIFICATE)"
        raise ConfigError(_CERTIFICATE_KEY, tls.certificate, allowed)
    key = _read(_PRIVATE_KEY_KEY, tls.private_key)
    if b"PRIVATE KEY-----" not in key:
        allowed = "a file with the private key in PEM form (BEGIN PRIVATE KEY)"
        raise ConfigError(_PRIVATE_KEY_KEY, tls.private_key, allowed)
    if b"ENCRYPTED" in key:
        allowed = (
            "a key without a passphrase, as nobody is there to type it: "
            "`openssl pkey -in ENCRYPTED.pem -out KEY.pem`, and chmod 0600 KEY.pem"
        )
        raise ConfigError(_PRIVATE_KEY_KEY, tls.private_key, allowed)


def _read(key: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        allowed = f"a file that user id {os.geteuid()} can read ({exc.strerror})"
        raise ConfigError(key, path, allowed) from exc


def _load_chain(context: ssl.SSLContext, tls: ServeTls) -> None:
    try:
        # Never asked for: without it, OpenSSL would ask a terminal.
        context.load_cert_chain(tls.certificate, tls.private_key, password=lambda: "")
    except (OSError, ssl.SSLError) as exc:
        reason = getattr(exc, "reason", None) or str(exc)
        if reason == "KEY_VALUES_MISMATCH":
            allowed = (
                f"the key of the first certificate in {tls.certificate!r}: the server's own comes "
                "first there, its intermediates after it"
            )
            raise ConfigError(_PRIVATE_KEY_KEY, tls.private_key, allowed) from exc
        allowed = f"PEM files that OpenSSL accepts together with serve.tls.private_key ({reason})"
        raise ConfigError(_CERTIFICATE_KEY, tls.certificate, allowed) from exc


def _probe(context: ssl.SSLContext, tls: ServeTls) -> ShownCertificate:
    try:
        return shown_certificate(context, tls.certificate)
    except (OSError, ssl.SSLError) as exc:
        reason = getattr(exc, "verify_message", "") or getattr(exc, "reason", "") or str(exc)
        allowed = f"a certificate for servers: a handshake with it fails ({reason})"
        raise ConfigError(_CERTIFICATE_KEY, tls.certificate, allowed) from exc


def _ask_clients(context: ssl.SSLContext, tls: ServeTls) -> None:
    context.verify_mode = _VERIFY[tls.client_certificates]
    if not tls.client_ca:
        return
    # The file names the CAs that count, so an intermediate in it is trusted without its root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _read(_CLIENT_CA_KEY, tls.client_ca)
    try:
        context.load_verify_locations(cafile=tls.client_ca)
    except (OSError, ssl.SSLError) as exc:
        allowed = "a file with the CA certificates of clients in PEM form"
        raise ConfigError(_CLIENT_CA_KEY, tls.client_ca, allowed) from exc
