"""Asks the mirror what only it can say: whether it is there, where it sends cargo, what it has.

Rules:
1. Requests are small, few and to the mirror alone; upstream is never asked. Whether a crate is
   stored is asked with `only-if-cached` (RFC 9111 section 5.2.1.7), so that nothing is fetched.
2. Proxies and certificates are those that the environment names for the clients themselves: cargo
   trusts other files than rustup does. A user name in a URL is sent as they send it.
3. An answer counts up to `CONTENT_MAX_BYTES`; every request has a deadline.

Runs in: commands.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from mirror.doctor.cargo_files import CargoFiles, setting
from mirror.doctor.findings import Base, Finding, Verdict, parse_base, shown
from mirror.doctor.lockfile import LockedCrate, download_url

TIMEOUT_S = 10.0
CONTENT_MAX_BYTES = 1 << 20
THREADS = 8
OUR_NAME = "rust-mirror"  # in Via
_AGENT = "rust-mirror-doctor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`status` 0: there was none, and `trouble` says why."""

    status: int
    content: bytes = b""
    via: str = ""
    trouble: str = ""


class Prober:
    """Asks URLs; `ca_file` "" means the system's certificates."""

    def __init__(self, ca_file: str = "") -> None:
        """Raises: OSError when the file cannot be used."""
        context = ssl.create_default_context(cafile=ca_file or None)
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), _Answers()
        )

    def ask(self, url: str, *, method: str = "GET", only_if_cached: bool = False) -> Reply:
        if parse_base(url) is None:  # a registry may say anything, file: URLs too
            return Reply(status=0, trouble="no http:// or https:// URL")
        url, credentials = _apart(url)
        request = urllib.request.Request(  # noqa: S310 - see above
            url, method=method, headers={"User-Agent": _AGENT}
        )
        if credentials:  # not to where the answer redirects to
            request.add_unredirected_header("Authorization", credentials)
        if only_if_cached:
            request.add_header("Cache-Control", "only-if-cached")
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                content = response.read(CONTENT_MAX_BYTES)
                via = response.headers.get("Via", "")
                return Reply(status=response.status, content=content, via=via)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            return Reply(status=0, trouble=_sentence(exc))


class _Answers(urllib.request.HTTPErrorProcessor):
    """Every status is an answer; redirects are followed as the clients do."""

    def http_response(self, request, response):  # type: ignore[no-untyped-def]
        if response.status in (301, 302, 303, 307, 308):
            return super().http_response(request, response)
        return response

    https_response = http_response


def _apart(url: str) -> tuple[str, str]:
    """Return the URL without user name and password, and the Authorization that says them."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, ""
    secret = base64.b64encode(unquote_to_bytes(user)).decode()
    return parts._replace(netloc=host).geturl(), f"Basic {secret}"


def cargo_ca_file(environ: Mapping[str, str], files: CargoFiles) -> tuple[str, str]:
    """Return the file of certificates that cargo trusts and who says so; ("", …): the system's."""
    named, seen = setting(files, environ, "http", "cainfo")
    if not isinstance(named, str) or not named:
        return rustup_ca_file(environ)
    if seen in environ:
        return named, seen
    return str(Path(seen).parent.parent / named), seen  # config.md, "Config-relative paths"


def rustup_ca_file(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the same for rustup."""
    return environ.get("SSL_CERT_FILE", ""), "SSL_CERT_FILE"


def probe_mirror(prober: Prober, mirror: Base) -> Iterator[Finding]:
    """Say whether the mirror answers."""
    reply = prober.ask(f"{mirror}/readyz")
    if reply.status == 200:
        sentence = f"answers at {mirror}"
        yield Finding(verdict=Verdict.GOOD, subject="the mirror", sentence=sentence)
        return
    if reply.status in (401, 403):
        sentence = f"wants to know who asks, at {mirror}: status {reply.status}"
        yield Finding(verdict=Verdict.NOTE, subject="the mirror", sentence=sentence)
        return
    sentence = f"does not answer at {mirror}: {reply.trouble or f'status {reply.status}'}"
    remedy = "see whether it runs there, and whether this machine may reach it"
    if "certificate" in reply.trouble:
        remedy = "export SSL_CERT_FILE and CARGO_HTTP_CAINFO with the file of its CA"
    yield Finding(verdict=Verdict.PAST, subject="the mirror", sentence=sentence, remedy=remedy)


def probe_release(prober: Prober, dist: str) -> Iterator[Finding]:
    """Say whether toolchains can be had from there."""
    reply = prober.ask(f"{dist.rstrip('/')}/dist/channel-rust-stable.toml.sha256")
    if reply.status != 200:
        remedy = "the mirror's operator sees the cause with `rust-mirror status`"
        if "certificate" in reply.trouble:
            remedy = "export SSL_CERT_FILE: rustup does not read cargo's settings"
        yield Finding(
            verdict=Verdict.PAST,
            subject="rustup toolchains",
            sentence=f"stable cannot be had there: {reply.trouble or f'status {reply.status}'}",
            seen=shown(dist),
            remedy=remedy,
        )
    elif OUR_NAME not in reply.via:
        yield Finding(
            verdict=Verdict.NOTE,
            subject="rustup toolchains",
            sentence="are answered by something that does not call itself rust-mirror",
            seen=shown(dist),
        )


def download_template(prober: Prober, registry: str) -> str | Finding:
    """Return `dl` of the registry at `registry` (without "sparse+"), or what is wrong with it."""
    reply = prober.ask(f"{registry.rstrip('/')}/config.json")
    try:
        document = json.loads(reply.content) if reply.status == 200 else None
    except (ValueError, RecursionError):
        document = None
    template = document.get("dl") if isinstance(document, dict) else None
    if isinstance(template, str) and template:
        return template
    cause = reply.trouble or f"config.json: status {reply.status}, or no dl in it"
    return Finding(
        verdict=Verdict.PAST,
        subject="crates and index",
        sentence=f"cargo cannot use that registry: {cause}",
        seen=shown(registry),
        remedy="is the path right? The mirror has its index below /index/",
    )


def judge_template(template: str, mirror: Base) -> Iterator[Finding]:
    """Say whether the crates come from where the index comes from."""
    if not mirror.holds(template):
        yield Finding(
            verdict=Verdict.PAST,
            subject="crates",
            sentence=f"are downloaded from {shown(template)}, though the index is the mirror's",
            seen="dl in the registry's config.json",
            remedy=f'the mirror\'s operator sets [serve] public_url = "{mirror}"',
        )


def crates_not_stored(
    prober: Prober,
    template: str,
    crates: Iterable[LockedCrate],
    *,
    on_asked: Callable[[], None],
) -> tuple[list[LockedCrate], list[str]]:
    """Return which crates the mirror has no copy of, and what went wrong while asking."""
    listed = list(crates)

    def ask(crate: LockedCrate) -> Reply:
        reply = prober.ask(download_url(template, crate), method="HEAD", only_if_cached=True)
        on_asked()
        return reply

    with ThreadPoolExecutor(THREADS) as threads:
        replies = list(threads.map(ask, listed))
    paired = list(zip(listed, replies, strict=True))
    absent = [crate for crate, reply in paired if reply.status in (404, 504)]
    troubles = {
        reply.trouble or f"status {reply.status}"
        for _, reply in paired
        if reply.status not in (200, 404, 504)
    }
    return absent, sorted(troubles)


def _sentence(exc: BaseException) -> str:
    reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message})"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__
