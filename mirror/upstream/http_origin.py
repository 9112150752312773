"""An `http://` or `https://` URL of a pool, asked with aiohttp.

Rules:
1. A path is appended to the URL byte for byte.
2. Redirects are followed within one origin only: a pool never speaks to a host that nobody
   configured.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio

import aiohttp
from yarl import URL

from mirror.clock import Clock
from mirror.errors import ErrorType, UpstreamError
from mirror.upstream.asking import ANSWERS, Answer, Ask, CrowdedError, end, trouble
from mirror.upstream.egress import proxy_for
from mirror.upstream.queueing import Queueing
from mirror.upstream.response import (
    BROKEN,
    error_type_of,
    head_bytes_of,
    join_fields,
    reason_of,
)
from mirror.upstream.traffic import LEFT, Exchange, NewExchange

REDIRECTS = frozenset((301, 302, 303, 307, 308))
MAX_REDIRECTS = 3


class HttpOrigin:
    """An `Asker`. Owns nothing: the session is its pool's; `base` has no trailing slash."""

    def __init__(
        self, base: str, session: aiohttp.ClientSession, *, proxy: str, clock: Clock
    ) -> None:
        self._base = base
        self._session = session
        self._proxy = proxy
        self._clock = clock

    async def ask(self, ask: Ask, new_exchange: NewExchange) -> Answer:
        """One attempt: send, follow redirects within the origin, sort the status."""
        url = URL(self._base + ask.path, encoded=True)
        for _ in range(MAX_REDIRECTS + 1):
            exchange = new_exchange()
            raw = await self._send(url, ask, exchange)
            if raw.status not in REDIRECTS:
                return self._sorted(url, raw, exchange)
            url = _follow(url, raw, exchange)
        raise UpstreamError(
            str(url),
            "too many redirects",
            upstream_status=raw.status,
            retryable=False,
            error_type=ErrorType.HTTP_PROTOCOL_ERROR,
        )

    async def aclose(self) -> None:
        """Nothing is owned."""

    async def _send(self, url: URL, ask: Ask, exchange: Exchange) -> aiohttp.ClientResponse:
        queueing = Queueing(exchange.begin)
        try:
            raw = await self._session.request(
                ask.method,
                url,
                headers=ask.fields,
                allow_redirects=False,
                proxy=proxy_for(url, self._proxy),
                trace_request_ctx=queueing,
            )
        except (*BROKEN, ValueError) as exc:
            if queueing.is_waiting:
                reason = "all connections to it stay in use"
                raise CrowdedError(str(url), reason) from exc
            error_type, reason = error_type_of(exc), reason_of(exc)
            exchange.finish(is_complete=False, error=reason)
            raise UpstreamError(str(url), reason, error_type=error_type) from exc
        except asyncio.CancelledError:
            exchange.finish(is_complete=False, error=LEFT)
            raise
        exchange.answered(raw.status, head_bytes_of(raw))
        return raw

    def _sorted(self, url: URL, raw: aiohttp.ClientResponse, exchange: Exchange) -> Answer:
        fields = join_fields(raw)
        if raw.status in ANSWERS:
            return Answer(raw.status, str(raw.url), fields, raw, exchange=exchange)
        error = trouble(str(url), raw.status, fields, self._clock.now())
        end(exchange, raw, error=error.reason)
        raw.release()
        raise error


def _follow(url: URL, raw: aiohttp.ClientResponse, exchange: Exchange) -> URL:
    """Release a redirect and return where to go on. Raises: UpstreamError."""
    error = "redirects elsewhere"
    try:
        target = _redirected(url, raw.headers.get("Location", ""), raw.status)
        error = ""
        return target
    finally:
        end(exchange, raw, error=error)
        raw.release()


def _redirected(url: URL, location: str, status: int) -> URL:
    """Return where to go on. Raises: UpstreamError for another origin or a broken target."""
    try:
        target = url.join(URL(location, encoded=True)) if location else None
        # A URL without a host (`file:///…`) has no origin, and asking for it is a ValueError too.
        if target is not None and target.origin() == url.origin():
            return target
    except ValueError:
        pass  # refused below, like every other target
    raise UpstreamError(
        str(url),
        f"redirects elsewhere: {location[:200]!r}",
        upstream_status=status,
        retryable=False,
        status=502,
        error_type=ErrorType.PROXY_CONFIGURATION_ERROR,  # of the URL that was configured
    )
