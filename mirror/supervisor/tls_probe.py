"""A handshake in memory: what a context shows to clients, and whether it works at all.

Rules:
1. What a real client would need is done once before a context is used: a certificate whose key,
   purpose or strength no handshake survives is found here, and not by the clients.
2. The certificate is read by `ssl.SSLSocket.getpeercert`, the only public way of the standard
   library to a certificate's fields; `cryptography` must not be loaded where workers are forked.
3. That method tells fields only of a certificate that it trusts. So the probing client trusts
   exactly this one, whoever signed it (PARTIAL_CHAIN), at any time: an expired one is told, not
   hidden.

Does not: judge names or dates; whoever calls does.
Runs in: supervisor, commands.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which `ssl` has no name for
_TURNS = 8  # a full handshake takes 4
_SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCertificate:
    """`names` are those of subjectAltName, the only ones that clients look at.

    `is_self_signed`: its issuer has its own name. What else tells a CA, `ssl` does not show.
    """

    subject: str
    names: tuple[str, ...]
    is_self_signed: bool
    not_before_at: float
    not_after_at: float


def shown_certificate(context: ssl.SSLContext, certificate_file: str) -> ShownCertificate:
    """Return what a client of the server's `context` is shown.

    Raises: ssl.SSLError when no handshake succeeds, OSError when the file cannot be read.
    """
    fields = _handshake(context, _trusting_client(certificate_file))
    return ShownCertificate(
        subject=_name_text(fields.get("subject", ())),
        names=tuple(str(value) for _kind, value in fields.get("subjectAltName", ())),
        is_self_signed=fields.get("subject") == fields.get("issuer"),
        not_before_at=float(ssl.cert_time_to_seconds(fields["notBefore"])),
        not_after_at=float(ssl.cert_time_to_seconds(fields["notAfter"])),
    )


def _trusting_client(certificate_file: str) -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cafile=certificate_file)
    flags = int(ssl.VERIFY_X509_PARTIAL_CHAIN) | _NO_CHECK_TIME
    client.verify_flags = ssl.VerifyFlags(int(client.verify_flags) | flags)
    return client


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(_TURNS):
        finished = [_has_finished(side) for side in sides]  # both take their turn
        if all(finished):
            break
    return sides[0].getpeercert() or {}


def _has_finished(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _name_text(name: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """Return a distinguished name in the manner of RFC 4514, most specific part first."""
    parts = [f"{_SHORT.get(kind, kind)}={value}" for part in reversed(name) for kind, value in part]
    return ",".join(parts)
