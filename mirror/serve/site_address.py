"""The URL under which a client reached this mirror, for answers that must name it.

Rules:
1. `[serve] public_url` wins; else the scheme of the connection and the validated Host.
2. X-Forwarded-Proto counts from trusted proxies only. From anybody else it is ignored, and the
   operator is warned once: a terminator that is not trusted makes every generated URL wrong.
3. On the upstream's own index host the crates are on the upstream's crate host, with the same
   scheme and port, because DNS points that name here as well.

Runs in: worker.
"""

from __future__ import annotations

from typing import Final

from mirror.http.authority import Authority
from mirror.route.match import Site
from mirror.serve.client_address import client_scheme
from mirror.serve.request import Request
from mirror.serve.shared import Shared
from mirror.serve.stream import Stream

CRATES_HOST: Final = "static.crates.io"
_HTTPS_PORT: Final = 443


class SiteAddress:
    """Base URLs, without a slash at the end."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._public_url = shared.config.serve.public_url.rstrip("/")
        self._has_warned = False

    def base_url(self, stream: Stream, request: Request) -> str:
        if self._public_url:
            return self._public_url
        return f"{self.scheme(stream, request)}://{_authority(stream, request)}"

    def tls_url(self, stream: Stream, request: Request, port: int) -> str:
        """Where the same is over TLS: `public_url`, or this host at `port` (0: the usual one)."""
        if self._public_url:
            return self._public_url
        host = _authority(stream, request).host
        return f"https://{Authority(host=host, port=None if port in (0, _HTTPS_PORT) else port)}"

    def crates_url(self, stream: Stream, request: Request, site: Site) -> str:
        """Where `/crates/…` is for the reader of `config.json`."""
        if self._public_url or site is not Site.INDEX:
            return self.base_url(stream, request)
        port = None if request.authority is None else request.authority.port
        authority = Authority(host=CRATES_HOST, port=port)
        return f"{self.scheme(stream, request)}://{authority}"

    def scheme(self, stream: Stream, request: Request) -> str:
        """Return "http" or "https", as the client of the nearest trusted proxy used it."""
        scheme = stream.scheme
        if request.forwarded_proto is None:
            return scheme
        said = client_scheme(scheme, request.forwarded_proto)
        if self._shared.trusted.trusts(stream.socket_peer):
            return said
        if said != scheme and not self._has_warned:
            self._has_warned = True
            self._shared.log.warning(
                "forwarded-proto-ignored",
                peer=stream.socket_peer,
                said=said,
                used=scheme,
                hint="name the proxy in [serve] trusted_proxies, or set [serve] public_url",
            )
        return scheme


def _authority(stream: Stream, request: Request) -> Authority:
    if request.authority is not None:
        return request.authority
    host, port = stream.local_address
    return Authority(host=f"[{host}]" if ":" in host else host, port=port)
