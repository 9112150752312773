"""What plaintext connections are answered when clients are to use TLS.

Rules:
1. `[serve] plaintext`: "serve" answers; "redirect" says where the same is over TLS (308, which
   keeps the method); "refuse" answers 403. Health (`/livez`, `/readyz`) is answered in any case:
   probes and balancers speak plaintext.
2. What a trusted proxy received over TLS (X-Forwarded-Proto) is no plaintext: a redirect would come
   back here for ever.
3. Only targets with a route are redirected, so nothing but the allow-listed characters of the
   grammar, and a validated Host, gets into Location.
4. A learned head would pass by here, so these connections do not use the memo. Streams of HTTP/2
   come here by the request path, like every request that is parsed.

Not 426: its Upgrade field must name what this connection can be switched to (RFC 9110 section
15.5.22), and TLS inside a plaintext connection (RFC 2817) is not offered here, while HTTP/2 has no
Upgrade at all.

Runs in: worker.
"""

from __future__ import annotations

from typing import Final

from mirror.route.route import Local, LocalRoute, Route
from mirror.serve.connection import Connection
from mirror.serve.refusals import TextAnswer
from mirror.serve.request import Request
from mirror.serve.shared import Shared
from mirror.serve.site_address import SiteAddress
from mirror.serve.stream import Stream

_HEALTH: Final = (Local.LIVEZ, Local.READYZ)
_REFUSAL: Final = TextAnswer(status=403, sentence="This server answers over TLS only: use https.")


class RestrictedConnection(Connection):
    """A plaintext connection under the rule: nothing is answered before the rule was asked."""

    __slots__ = ()

    def _serve_known(self, head: bytes) -> bool:
        return False


class PlaintextRule:
    """Says what is answered instead; `is_redirecting` false: refuse."""

    def __init__(self, address: SiteAddress, tls_port: int, *, is_redirecting: bool) -> None:
        self._address = address
        self._tls_port = tls_port
        self._is_redirecting = is_redirecting

    def instead(
        self, stream: Stream, request: Request, matched: Route | LocalRoute
    ) -> TextAnswer | None:
        """Return what is answered instead of `matched`, or None."""
        if stream.scheme == "https" or self._address.scheme(stream, request) == "https":
            return None
        if isinstance(matched, LocalRoute) and matched.local in _HEALTH:
            return None
        if not self._is_redirecting:
            return _REFUSAL
        url = self._address.tls_url(stream, request, self._tls_port)
        return TextAnswer(
            status=308,
            sentence="This server answers over TLS.",
            location=url + request.target.decode("ascii"),
        )


def plaintext_rule(shared: Shared, tls_port: int) -> PlaintextRule | None:
    """Return the rule of the configuration; None when plaintext is served."""
    word = shared.config.serve.plaintext
    if word == "serve":
        return None
    return PlaintextRule(SiteAddress(shared), tls_port, is_redirecting=word == "redirect")
