"""One upstream: its URLs in order of preference, asked politely until one answers.

Rules:
1. A status that says something about the object (`ANSWERS`) goes to the caller. Every other one,
   and every failure before the head, is retried within limits, then the next URL is tried.
2. A body that breaks is the caller's to resume; its URL is demoted, so a resume goes elsewhere.
3. Requests carry this product's own User-Agent, never cargo's (crates.io counts cargo's), and
   `CDN-Loop`, so that a loop through other machines is found (RFC 8586).
4. No library's name leaves: every failure is a `MirrorError`.
5. Waiting for one of our own connections has a deadline, and says nothing about the upstream: such
   a failure demotes nobody and is not tried again here.
6. A store that states another checksum than the publisher does has another object: nothing of it is
   read, and the next URL is tried. Its health is not touched: one object says nothing about others.

Does not: know HTTP from S3 (`asking`), verify, store, cap lengths, or decode content codings.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mirror.clock import Clock
from mirror.errors import ErrorType, MirrorError, UpstreamError, VerificationError
from mirror.events import EventLog
from mirror.upstream.asking import Answer, Ask, Asker, CrowdedError
from mirror.upstream.backoff import BACKOFF_FIRST_S, RETRY_AFTER_CAP_S, GiveUp, next_step
from mirror.upstream.described import UpstreamObject, described
from mirror.upstream.origin import Origin, OriginHealth
from mirror.upstream.response import UpstreamResponse
from mirror.upstream.traffic import NewExchange, TrafficMeter


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """`fields` go with every request, names in lower case."""

    name: str
    attempts: int
    fields: Mapping[str, str]
    backoff_first_s: float = BACKOFF_FIRST_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One URL of a pool: how it has behaved, and how it is asked."""

    origin: Origin
    asker: Asker


class Pool:
    """Owns what it is given; made by `pools.open_pools` inside the running loop.

    `aclose_connections` closes what the askers share.
    """

    def __init__(
        self,
        settings: PoolSettings,
        members: Sequence[Member],
        *,
        aclose_connections: Callable[[], Awaitable[None]],
        meter: TrafficMeter,
        clock: Clock,
        log: EventLog,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._members = tuple(members)
        self._aclose_connections = aclose_connections
        self._meter = meter
        self._clock = clock
        self._log = log

    @contextlib.asynccontextmanager
    async def get(
        self,
        path: str,
        *,
        fields: Mapping[str, str] | None = None,
        expected_sha256: bytes = b"",
    ) -> AsyncIterator[UpstreamResponse]:
        """GET `path` ("/…", sent as it is) with further fields; the status is one of `ANSWERS`.

        Leaving the block before the end of the content closes the connection. `expected_sha256`,
        when it is known, is what a checksum of the whole content must say (rule 6).

        Raises: UpstreamError when no URL gave a usable answer (`retry_after_s` is upstream's wish),
        VerificationError when a URL answered, and has something else than `expected_sha256`.
        """
        ask = Ask(path=path, fields={**self._settings.fields, **_lower(fields)})
        response, answer = await self._open(ask, expected_sha256)
        try:
            yield response
        finally:
            # `release` keeps the connection only when the content was read to its end.
            answer.release()

    async def describe(self, path: str) -> UpstreamObject | None:
        """Return what upstream says of the object without its content; None: there is none.

        Raises: UpstreamError, also for an answer that says neither (403).
        """
        ask = Ask(path=path, fields=self._settings.fields, method="HEAD")
        _, answer = await self._open(ask, b"")
        answer.release()
        return described(answer.status, answer.url, answer.fields, answer.stated.sha256)

    def health(self) -> tuple[OriginHealth, ...]:
        """Return how each URL behaves, in order of preference."""
        now = self._clock.monotonic()
        return tuple(member.origin.health(now) for member in self._members)

    async def aclose(self) -> None:
        for member in self._members:
            await member.asker.aclose()
        await self._aclose_connections()

    async def _open(self, ask: Ask, expected_sha256: bytes) -> tuple[UpstreamResponse, Answer]:
        attempts = itertools.count(1)
        failure: MirrorError | None = None
        for member in self._in_order():
            try:
                answer = await self._ask(member, ask, attempts)
            except UpstreamError as exc:
                # The next URL may do better. The last failure is raised, unless one URL is known to
                # have something else: asking again will not change that.
                failure = failure if isinstance(failure, VerificationError) else exc
                continue
            if _is_other(answer, expected_sha256):
                answer.broke("it states another checksum")
                answer.release()
                failure = self._differs(answer, expected_sha256)
                continue
            on_broken = functools.partial(self._demote, member.origin)
            is_vouched = bool(expected_sha256)
            return UpstreamResponse(answer, on_broken=on_broken, is_vouched=is_vouched), answer
        raise failure or self._all_closed()

    def _in_order(self) -> list[Member]:
        """Return the members that may be asked, by preference, demoted ones last."""
        now = self._clock.monotonic()
        ready = [member for member in self._members if not member.origin.closed_for_s(now)]
        return sorted(ready, key=lambda member: member.origin.is_demoted(now))

    def _differs(self, answer: Answer, expected_sha256: bytes) -> VerificationError:
        expected, stated = expected_sha256.hex(), answer.stated.sha256.hex()
        self._log.error(
            "upstream-checksum-differs",
            pool=self.name,
            url=answer.url,
            expected=expected,
            stated=stated,
        )
        return VerificationError(answer.url, expected=expected, got=f"{stated} (as stated by it)")

    def _all_closed(self) -> UpstreamError:
        now = self._clock.monotonic()
        soonest_s = min((member.origin.closed_for_s(now) for member in self._members), default=0.0)
        return UpstreamError(
            self.name,
            "asked to be left alone (429)",
            upstream_status=429,
            retry_after_s=soonest_s,
            error_type=ErrorType.DESTINATION_UNAVAILABLE,
        )

    async def _ask(self, member: Member, ask: Ask, numbers: Iterator[int]) -> Answer:
        """Ask one URL until it answers or the attempts are used up; `numbers` counts them."""
        origin = member.origin
        now = self._clock.monotonic()
        attempts = 1 if origin.is_silent(now) else self._settings.attempts
        failures = 0
        while True:
            try:
                answer = await member.asker.ask(ask, self._account(origin, ask, next(numbers)))
            except CrowdedError:
                raise  # rule 5
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

    def _account(self, origin: Origin, ask: Ask, attempt: int) -> NewExchange:
        return functools.partial(
            self._meter.exchange,
            self.name,
            origin.base,
            ask.path,
            method=ask.method,
            attempt=attempt,
        )

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
            error_type="" if exc.error_type is None else exc.error_type.value,
            upstream_status=exc.upstream_status,
            attempts=failures,
        )

    def __repr__(self) -> str:
        return f"<Pool {self.name} {[member.origin.base for member in self._members]}>"


def _lower(fields: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (fields or {}).items()}


def _is_other(answer: Answer, expected_sha256: bytes) -> bool:
    stated = answer.stated.sha256
    return bool(answer.status == 200 and expected_sha256 and stated) and stated != expected_sha256
