"""Whether clients reach this mirror: at `public_url`, at its own addresses, through what proxies.

Rules:
1. A mirror refuses (508) a request that carries its own name in CDN-Loop (RFC 8586). So a request
   with this mirror's name that is refused so has reached this mirror, and no other one.
2. Networks in `trusted_proxies` may claim any client address and are never limited: they are as
   narrow as can be.

Runs in: commands. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mirror.doctor.findings import Finding, parse_base, shown
from mirror.doctor.said import good, note, risk, wrong

_PUBLIC = "public_url"
_WIDEST = {4: 8, 6: 16}  # shorter prefixes than the private networks' own (10.0.0.0/8, fc00::/7)
_LOOP = 508


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What came of asking a URL for /livez, redirects followed.

    `status` 0: there was no answer, and `trouble` says why. `own_status`: the same asked with this
    mirror's name in CDN-Loop; 0: not asked. `peer`: the address that was connected to.
    `is_untrusted`: this machine does not accept the certificate, for the reason `untrusted`; the
    rest was found without checking it.
    """

    url: str
    status: int = 0
    is_live: bool = False
    own_status: int = 0
    peer: str = ""
    trouble: str = ""
    hops: tuple[str, ...] = ()
    is_circle: bool = False
    is_untrusted: bool = False
    untrusted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """How the mirror is set up to be reached. `is_running` None: nobody could tell."""

    public_url: str
    listen: tuple[str, ...]
    tls_listen: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    proxy_protocol: bool
    is_running: bool | None


def judge_public_url(doors: Doors, visit: Visit | None) -> Iterator[Finding]:
    """`visit` None: it was not asked."""
    if not doors.public_url:
        sentence = "is empty: clients are told the name by which they came"
        if doors.trusted_proxies or doors.proxy_protocol:
            remedy = "set it if cargo, behind the proxy, is sent to a wrong scheme or name"
            yield note(_PUBLIC, sentence, remedy)
        else:
            yield good(_PUBLIC, sentence)
    elif visit is not None:
        yield _arrived(doors, visit)
        if visit.is_untrusted and not visit.trouble:
            yield _untrusted(visit)


def _arrived(doors: Doors, visit: Visit) -> Finding:
    url = shown(doors.public_url)
    seen = " → ".join((*visit.hops, visit.url)) + (f" at {visit.peer}" if visit.peer else "")
    ports = f"the mirror listens at {', '.join((*doors.listen, *doors.tls_listen))}"
    if doors.is_running is False and (visit.trouble or not visit.is_live):
        return note(_PUBLIC, "does not answer, as no mirror runs", "rust-mirror serve", seen)
    if visit.is_circle:
        remedy = "the proxy in front speaks plaintext to the mirror, which sends clients to TLS: "
        remedy += 'set [serve] plaintext = "serve", or have the proxy connect to tls_listen'
        return wrong(_PUBLIC, "redirects in a circle", remedy, seen)
    if visit.trouble:
        remedy = f"see DNS, firewall, certificate and port ({ports})"
        return wrong(_PUBLIC, f"does not answer here: {visit.trouble}", remedy, seen)
    if visit.own_status == _LOOP:
        return _at_home(doors, visit, seen)
    if not visit.is_live or visit.status != 200:
        sentence = f"leads to something else: /livez is answered {visit.status}, not by a mirror"
        return wrong(_PUBLIC, sentence, f"correct name, port and path of {url} ({ports})", seen)
    if visit.own_status:
        sentence = "leads to another mirror than this one, or a proxy on the way drops CDN-Loop"
        remedy = (
            "is DNS right, and the proxy's upstream? Behind a balancer of several mirrors: well"
        )
        return note(_PUBLIC, sentence, remedy, seen)
    sentence = "leads to a mirror; whether to this one cannot be told: its name cannot be read"
    return note(_PUBLIC, sentence, "run it as root or as the mirror's user", seen)


def _untrusted(visit: Visit) -> Finding:
    sentence = f"this machine does not accept its certificate: {visit.untrusted}"
    if "issuer" in visit.untrusted or "self-signed" in visit.untrusted.replace(" ", "-"):
        remedy = "clients need its CA, in SSL_CERT_FILE and CARGO_HTTP_CAINFO; or an intermediate "
        remedy += "certificate is missing in the file"
        return note(_PUBLIC, sentence, remedy, visit.url)
    return wrong(_PUBLIC, sentence, "have a certificate made for that name", visit.url)


def _at_home(doors: Doors, visit: Visit, seen: str) -> Finding:
    if not visit.hops:
        return good(_PUBLIC, "leads to this mirror", seen)
    base = visit.url.removesuffix("/livez")
    sentence = f"leads to this mirror after a redirect to {base}, which every request takes"
    return risk(_PUBLIC, sentence, f'set [serve] public_url = "{base}"', seen)


def judge_listening(address: str, key: str, visit: Visit, is_running: bool | None) -> Finding:
    """Say whether the mirror answers at one of its own addresses."""
    subject = f"listening at {address}"
    if is_running is False:
        if not visit.trouble:
            sentence = "something listens there, and no mirror runs: it could not start"
            return wrong(subject, sentence, f"stop that program, or change {key}", key)
        return note(subject, "nobody listens there: no mirror runs", "rust-mirror serve", key)
    if visit.trouble:
        sentence = f"cannot be connected to: {visit.trouble}"
        remedy = f"is {key} as it was when the mirror started? A change takes a restart"
        return wrong(subject, sentence, remedy, key)
    if visit.own_status not in (0, _LOOP):
        sentence = "is answered by another program, or another mirror"
        return wrong(subject, sentence, f"stop that one, or change {key} and restart", key)
    return good(subject, "answers", key)


def judge_doors(doors: Doors) -> Iterator[Finding]:
    """Say what of addresses and proxies cannot be meant so."""
    yield from (finding for text in doors.trusted_proxies for finding in _trusted(text))
    addresses = [*doors.listen, *doors.tls_listen]
    is_local = all(_is_loopback(text) for text in addresses)
    if doors.proxy_protocol and not doors.trusted_proxies:
        sentence = "is on, and nobody is trusted to say it: every connection counts as the proxy's"
        remedy = "name the balancer's addresses in [serve] trusted_proxies"
        yield risk("proxy_protocol", sentence, remedy)
    if is_local and not doors.public_url:
        sentence = "only this machine can connect: every address is a loopback one"
        remedy = 'for others: [serve] listen = ["0.0.0.0:8080"], or a proxy in front of it'
        yield note("listening", sentence, remedy, ", ".join(addresses))
    elif is_local and not doors.trusted_proxies and not _is_loopback_url(doors.public_url):
        sentence = "clients come through a proxy on this machine, and all count as that one"
        remedy = 'name it: [serve] trusted_proxies = ["127.0.0.0/8", "::1"]'
        yield risk("trusted_proxies", sentence, remedy, ", ".join(addresses))


def _trusted(text: str) -> Iterator[Finding]:
    network = ipaddress.ip_network(text, strict=False)
    remedy = "name the addresses of your proxies only, such as 10.1.2.3/32"
    if network.prefixlen == 0:
        sentence = f"{text}: everybody may claim to be any client, and is never limited"
        yield wrong("trusted_proxies", sentence, remedy)
    elif network.prefixlen < _WIDEST[network.version] and not network.is_loopback:
        sentence = f"{text} is very wide: everybody in it may claim to be any client"
        yield risk("trusted_proxies", sentence, remedy)


def _is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # an inherited unix socket


def _is_loopback_url(url: str) -> bool:
    base = parse_base(url)
    return base is not None and (base.host == "localhost" or _is_loopback(f"{base.host}:0"))


def own_ports(listen: Sequence[str]) -> frozenset[int]:
    """Return the ports of listen addresses."""
    ports = (text.rpartition(":")[2] for text in listen)
    return frozenset(int(port) for port in ports if port.isdigit())
