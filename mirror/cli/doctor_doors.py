"""What `doctor` learns by coming as a client: at `public_url` and at the mirror's own addresses.

Rules:
1. Only /livez is asked for, twice: plainly, and with this mirror's name in CDN-Loop.
2. Every step on the network has a deadline; redirects are followed `MAX_HOPS` times.
3. No proxy of this machine's environment is used: what counts is where DNS and routes lead.

Units: seconds.
Runs in: commands.
"""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from mirror.doctor.entrances import Visit
from mirror.doctor.findings import parse_base

STEP_S = 2.0
MAX_HOPS = 5
_AGENT = "rust-mirror-doctor"
_LIVE = b"live\n"
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    content: bytes
    location: str
    peer: str


def visit(url: str, token: str, context: ssl.SSLContext) -> Visit:
    """Ask `url` (of /livez) as a client would; `token` "": this mirror's name is not known."""
    found = _follow(url, context)
    if found.is_untrusted:
        unchecked = _follow(url, unchecking_context())
        found = replace(unchecked, untrusted=found.untrusted, is_untrusted=True)
        context = unchecking_context()
    if found.trouble or found.is_circle or not token:
        return found
    try:
        marked = _ask(found.url, context, token)
    except (OSError, http.client.HTTPException, ValueError):
        return found
    return replace(found, own_status=marked.status)


def visit_address(address: str, token: str, *, is_tls: bool) -> Visit:
    """Ask one of the mirror's own addresses; whose certificate it is does not matter here."""
    host, _, port = address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    url = f"{'https' if is_tls else 'http'}://{host}:{port}/livez"
    return visit(url, token, unchecking_context())


def connect_address(address: str) -> Visit:
    """Only connect: what is said there first is not HTTP, or needs a certificate of a client."""
    host, _, port = address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host).strip("[]")
    connection = http.client.HTTPConnection(host, int(port), timeout=STEP_S)
    try:
        connection.connect()
    except OSError as exc:
        return Visit(url=address, trouble=_sentence(exc))
    finally:
        connection.close()
    return Visit(url=address)


def unchecking_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _follow(url: str, context: ssl.SSLContext) -> Visit:
    hops: list[str] = []
    while True:
        try:
            answer = _ask(url, context, "")
        except ssl.SSLCertVerificationError as exc:
            return Visit(url=url, hops=tuple(hops), untrusted=exc.verify_message, is_untrusted=True)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            return Visit(url=url, hops=tuple(hops), trouble=_sentence(exc))
        if answer.status not in _REDIRECTS or not answer.location:
            is_live = answer.status == 200 and answer.content == _LIVE
            return Visit(
                url=url, status=answer.status, is_live=is_live, peer=answer.peer, hops=tuple(hops)
            )
        following = urljoin(url, answer.location)
        if following == url or following in hops or len(hops) == MAX_HOPS:
            return Visit(url=following, hops=(*hops, url), is_circle=True)
        hops.append(url)
        url = following


def _ask(url: str, context: ssl.SSLContext, token: str) -> _Answer:
    base = parse_base(url)
    if base is None:
        raise ValueError("no http:// or https:// URL")
    if base.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            base.host, base.port, timeout=STEP_S, context=context
        )
    else:
        connection = http.client.HTTPConnection(base.host, base.port, timeout=STEP_S)
    fields = {"User-Agent": _AGENT, "Connection": "close"}
    if token:
        fields["CDN-Loop"] = token
    try:
        connection.connect()
        peer = _peer(connection)
        connection.request("GET", urlsplit(url).path or "/", headers=fields)
        response = connection.getresponse()
        content = response.read(len(_LIVE) + 1)
        location = response.headers.get("Location", "")
        return _Answer(status=response.status, content=content, location=location, peer=peer)
    finally:
        connection.close()


def _peer(connection: http.client.HTTPConnection) -> str:
    host, port = connection.sock.getpeername()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sentence(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return f"no answer in {STEP_S:.0f} s"
    if isinstance(exc, http.client.HTTPException):
        return "no HTTP is spoken there"
    if isinstance(exc, ssl.SSLError):
        return f"TLS fails ({exc.reason or 'no reason given'})"
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
