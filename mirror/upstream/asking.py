"""How one URL of a pool is asked: a Protocol for HTTP and S3, and the answer both give.

Rules:
1. An asker makes one attempt. It returns an answer whose status is one of `ANSWERS`, in the words
   of HTTP, or raises `UpstreamError`; retries, failover and health are the pool's.
2. An answer is released by whoever got it, once or more often; that ends its exchange's account,
   with what the connection brought and nobody read.

Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from mirror.errors import ErrorType, UpstreamError
from mirror.http.retry_after import parse_retry_after
from mirror.upstream.backoff import RETRY_AFTER_LONGEST_S, RETRY_STATUSES
from mirror.upstream.traffic import Exchange, NewExchange

# What says something about the object; every other status is trouble.
ANSWERS = frozenset((200, 206, 304, 403, 404, 410, 416, 451))


class CrowdedError(UpstreamError):
    """None of our own connections became free in time."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason, error_type=ErrorType.CONNECTION_LIMIT_REACHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """`path` begins with "/"; names of `fields` are in lower case; `method` GET or HEAD."""

    path: str
    fields: Mapping[str, str]
    method: str = "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What the store behind a URL says about the whole content; b"" and -1: nothing."""

    sha256: bytes = b""
    crc32: int = -1


NOTHING_STATED = Stated()


class Answer:
    """Status, fields and content, as yet unread. `raw` None: there is no content to read, and the
    exchange has been finished."""

    __slots__ = ("_broken", "_exchange", "_raw", "_read_bytes", "fields", "stated", "status", "url")

    def __init__(
        self,
        status: int,
        url: str,
        fields: Mapping[str, str],
        raw: aiohttp.ClientResponse | None,
        *,
        exchange: Exchange,
        stated: Stated = NOTHING_STATED,
    ) -> None:
        self.status = status
        self.url = url
        self.fields = fields
        self.stated = stated
        self._raw = raw
        self._exchange = exchange
        self._read_bytes = 0
        self._broken = ""

    async def content(self) -> AsyncIterator[bytes]:
        """Yield what the network brings. Raises what `response.BROKEN` lists."""
        if self._raw is not None:
            async for chunk in self._raw.content.iter_any():
                self._read_bytes += len(chunk)
                self._exchange.received(len(chunk))
                yield chunk

    def broke(self, reason: str) -> None:
        """The content is not usable, in these words."""
        self._broken = reason

    def without_content(self, fields: Mapping[str, str]) -> Answer:
        """Return the same status with `fields` and nothing to read; this one must be released."""
        return Answer(self.status, self.url, fields, None, exchange=self._exchange)

    def release(self) -> None:
        """Keep the connection when the content was read to its end, else close it."""
        if self._raw is None:
            return
        end(self._exchange, self._raw, read_bytes=self._read_bytes, error=self._broken)
        self._raw.release()

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.url}>"


class Asker(Protocol):
    """Speaks to one URL of a pool."""

    async def ask(self, ask: Ask, new_exchange: NewExchange) -> Answer:
        """Make one attempt, each request of which is an exchange.

        Raises: UpstreamError, CrowdedError.
        """
        ...

    async def aclose(self) -> None: ...


def end(
    exchange: Exchange, raw: aiohttp.ClientResponse, *, read_bytes: int = 0, error: str = ""
) -> None:
    """Finish the exchange of a response that is released next: what has come is counted, read or
    not, for upstream has sent it."""
    content = raw.content
    exchange.received(content.total_bytes - read_bytes)
    exchange.finish(is_complete=not error and content.is_eof(), error=error)


def trouble(
    url: str, status: int, fields: Mapping[str, str], now: float, *, word: str = ""
) -> UpstreamError:
    """Return the error of a status that is not one of `ANSWERS`.

    `now` in Unix seconds; `word` is the upstream's own for it.
    """
    retry_after_s = parse_retry_after(
        fields.get("retry-after", ""), now, cap_s=RETRY_AFTER_LONGEST_S
    )
    is_temporary = status in RETRY_STATUSES
    return UpstreamError(
        url,
        f"status {status} ({word[:80]})" if word else f"status {status}",
        upstream_status=status,
        retry_after_s=(retry_after_s or 0.0) if is_temporary else 0.0,
        retryable=is_temporary,
        status=503 if is_temporary else 502,
        error_type=_type_of_status(status, is_temporary=is_temporary),
    )


def _type_of_status(status: int, *, is_temporary: bool) -> ErrorType | None:
    """RFC 9209 has types for what stands between, not for what an upstream says: its status is told
    beside this. None: nothing fits."""
    if is_temporary or status >= 500:
        return ErrorType.DESTINATION_UNAVAILABLE
    return ErrorType.PROXY_CONFIGURATION_ERROR if status in (400, 401, 403, 405, 407) else None
