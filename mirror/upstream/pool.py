"""One upstream: its URLs in order of preference, asked politely until one answers.

Rules:
1. A status that says something about the object (`ANSWERS`) goes to the caller. Every other one,
   and every failure before the head, is retried within limits, then the next URL is tried.
2. A body that breaks is the caller's to resume; its URL is demoted, so a resume goes elsewhere.
3. Redirects are followed within one origin only: a pool never speaks to a host that nobody
   configured.
4. Requests carry this product's own User-Agent, never cargo's (crates.io counts cargo's), and
   `CDN-Loop`, so that a loop through other machines is found (RFC 8586).
5. No library's name leaves: every failure is an `UpstreamError`.
6. Waiting for one of our own connections has a deadline, and says nothing about the upstream: such
   a failure demotes nobody and is not tried again here.

Does not: verify, store, cap lengths, or decode content codings.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from yarl import URL

from mirror.clock import Clock
from mirror.errors import UpstreamError
from mirror.events import EventLog
from mirror.http.retry_after import parse_retry_after
from mirror.upstream.backoff import (
    BACKOFF_FIRST_S,
    RETRY_AFTER_CAP_S,
    RETRY_AFTER_LONGEST_S,
    RETRY_STATUSES,
    GiveUp,
    next_step,
)
from mirror.upstream.egress import proxy_for
from mirror.upstream.origin import Origin, OriginHealth
from mirror.upstream.queueing import Queueing
from mirror.upstream.response import BROKEN, UpstreamResponse, reason_of
from mirror.upstream.traffic import TrafficLine, TrafficMeter

ANSWERS = frozenset((200, 206, 304, 403, 404, 410, 416, 451))
REDIRECTS = frozenset((301, 302, 303, 307, 308))
MAX_REDIRECTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """`fields` go with every request, names in lower case; `proxy` "": as the environment says."""

    name: str
    attempts: int
    fields: Mapping[str, str]
    proxy: str = ""
    backoff_first_s: float = BACKOFF_FIRST_S


class _CrowdedError(UpstreamError):
    """None of our own connections became free in time."""


class Pool:
    """Owns the session it is given; made by `pools.open_pools` inside the running loop."""

    def __init__(
        self,
        settings: PoolSettings,
        origins: Sequence[Origin],
        session: aiohttp.ClientSession,
        *,
        meter: TrafficMeter,
        clock: Clock,
        log: EventLog,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._origins = tuple(origins)
        self._session = session
        self._meter = meter
        self._clock = clock
        self._log = log

    @contextlib.asynccontextmanager
    async def get(
        self, path: str, *, fields: Mapping[str, str] | None = None
    ) -> AsyncIterator[UpstreamResponse]:
        """GET `path` ("/…", sent as it is) with further fields; the status is one of `ANSWERS`.

        Leaving the block before the end of the content closes the connection.

        Raises: UpstreamError when no URL gave a usable answer; `retry_after_s` is upstream's wish.
        """
        response, raw = await self._open(path, {**self._settings.fields, **_lower(fields)})
        try:
            yield response
        finally:
            # `release` keeps the connection only when the content was read to its end.
            raw.release()

    def health(self) -> tuple[OriginHealth, ...]:
        """Return how each URL behaves, in order of preference."""
        now = self._clock.monotonic()
        return tuple(origin.health(now) for origin in self._origins)

    async def aclose(self) -> None:
        await self._session.close()

    async def _open(
        self, path: str, fields: Mapping[str, str]
    ) -> tuple[UpstreamResponse, aiohttp.ClientResponse]:
        line = self._meter.line(self.name, path)
        failure: UpstreamError | None = None
        for origin in self._in_order():
            try:
                raw = await self._ask(origin, path, fields, line)
            except UpstreamError as exc:
                failure = exc  # the next URL may do better; the last failure is raised
                continue
            if raw.status == 304:
                line.not_modified()
            on_broken = functools.partial(self._demote, origin)
            return UpstreamResponse(raw, traffic=line, on_broken=on_broken), raw
        raise failure or self._all_closed()

    def _in_order(self) -> list[Origin]:
        """Return the origins that may be asked, by preference, demoted ones last."""
        now = self._clock.monotonic()
        ready = [origin for origin in self._origins if not origin.closed_for_s(now)]
        return sorted(ready, key=lambda origin: origin.is_demoted(now))

    def _all_closed(self) -> UpstreamError:
        now = self._clock.monotonic()
        soonest_s = min((origin.closed_for_s(now) for origin in self._origins), default=0.0)
        return UpstreamError(
            self.name,
            "asked to be left alone (429)",
            upstream_status=429,
            retry_after_s=soonest_s,
        )

    async def _ask(
        self, origin: Origin, path: str, fields: Mapping[str, str], line: TrafficLine
    ) -> aiohttp.ClientResponse:
        """Ask one origin until it answers or the attempts are used up."""
        now = self._clock.monotonic()
        attempts = 1 if origin.is_silent(now) else self._settings.attempts
        failures = 0
        while True:
            try:
                answer = await self._follow(origin, path, fields, line)
            except _CrowdedError:
                raise  # rule 6
            except UpstreamError as exc:
                failures += 1
                retry_after_s = exc.retry_after_s
                step = next_step(
                    failures=failures if exc.retryable else attempts,
                    attempts=attempts,
                    retry_after_s=retry_after_s,
                    jitter=random.random(),
                    first_s=self._settings.backoff_first_s,
                )
                if isinstance(step, GiveUp):
                    self._note_failure(origin, exc, failures)
                    raise
                await asyncio.sleep(step.seconds)
            else:
                origin.restore()
                return answer

    def _demote(self, origin: Origin, words: str) -> None:
        origin.demote(self._clock.monotonic())
        origin.note_error(words, self._clock.now())

    def _note_failure(self, origin: Origin, exc: UpstreamError, failures: int) -> None:
        now = self._clock.monotonic()
        origin.demote(now, silent=exc.upstream_status == 0)
        origin.note_error(exc.reason, self._clock.now())
        if exc.upstream_status == 429 and exc.retry_after_s > RETRY_AFTER_CAP_S:
            origin.close_for(now, exc.retry_after_s)
        self._log.warning(
            "upstream-failed",
            pool=self.name,
            url=exc.source,
            reason=exc.reason,
            upstream_status=exc.upstream_status,
            attempts=failures,
        )

    async def _follow(
        self, origin: Origin, path: str, fields: Mapping[str, str], line: TrafficLine
    ) -> aiohttp.ClientResponse:
        """One attempt: send, follow redirects within the origin, sort the status."""
        url = origin.url(path)
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._send(url, fields, line)
            if answer.status not in REDIRECTS:
                return self._sorted(url, answer)
            location = answer.headers.get("Location", "")
            answer.release()
            url = _redirected(url, location, answer.status)
        raise UpstreamError(
            str(url), "too many redirects", upstream_status=answer.status, retryable=False
        )

    async def _send(
        self, url: URL, fields: Mapping[str, str], line: TrafficLine
    ) -> aiohttp.ClientResponse:
        queueing = Queueing()
        line.request()
        try:
            return await self._session.get(
                url,
                headers=fields,
                allow_redirects=False,
                proxy=proxy_for(url, self._settings.proxy),
                trace_request_ctx=queueing,
            )
        except (*BROKEN, ValueError) as exc:
            if queueing.is_waiting:
                reason = "all connections to it stay in use"
                raise _CrowdedError(str(url), reason) from exc
            raise UpstreamError(str(url), reason_of(exc)) from exc

    def _sorted(self, url: URL, answer: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
        if answer.status in ANSWERS:
            return answer
        retry_after_s = parse_retry_after(
            answer.headers.get("Retry-After", ""), self._clock.now(), cap_s=RETRY_AFTER_LONGEST_S
        )
        answer.release()
        is_temporary = answer.status in RETRY_STATUSES
        raise UpstreamError(
            str(url),
            f"status {answer.status}",
            upstream_status=answer.status,
            retry_after_s=(retry_after_s or 0.0) if is_temporary else 0.0,
            retryable=is_temporary,
            status=503 if is_temporary else 502,
        )

    def __repr__(self) -> str:
        return f"<Pool {self.name} {[origin.base for origin in self._origins]}>"


def _lower(fields: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (fields or {}).items()}


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
    )
