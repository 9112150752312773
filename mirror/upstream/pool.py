"""One upstream: its URLs in order of preference, asked politely until one answers.

Rules:
1. A status that says something about the object (`ANSWERS`) goes to the caller. Every other one,
   and every failure before the head, is retried within limits, then the next URL is tried.
2. A body that breaks is the caller's to resume; its URL is demoted, so a resume goes elsewhere.
3. Requests carry this product's own User-Agent, never cargo's (crates.io counts cargo's), and
   `CDN-Loop`, so that a loop through other machines is found (RFC 8586).
4. No library's name leaves: every failure is a `MirrorError`.
5. Waiting for one of our own connections has a deadline, and says nothing about the upstream: such
   a failure demotes nobody and is not tried again here. So does a request that our own budget
   refuses, and that no other URL is asked for either: the budget is the upstream's.
6. A store that states another checksum than the publisher does has another object: nothing of it is
   read, and the next URL is tried. Its health is not touched: one object says nothing about others.
7. A URL whose circuit is open is not asked, nor is one that wanted quiet; when that is all of them,
   the caller is told at once, and when to come back.

Does not: know HTTP from S3 (`asking`), send (`sending`), verify, store, cap lengths, or decode
content codings.
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
from mirror.upstream.asking import Answer, Ask, CrowdedError
from mirror.upstream.backoff import BACKOFF_FIRST_S, RETRY_AFTER_CAP_S, GiveUp, next_step
from mirror.upstream.described import UpstreamObject, described
from mirror.upstream.origin import Origin, OriginHealth
from mirror.upstream.response import UpstreamResponse
from mirror.upstream.sending import (
    Answered,
    Member,
    OverBudgetError,
    Reports,
    RestingError,
    Sender,
    SendingLimits,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """`fields` go with every request, names in lower case."""

    name: str
    attempts: int
    fields: Mapping[str, str]
    sending: SendingLimits
    backoff_first_s: float = BACKOFF_FIRST_S


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
        reports: Reports,
        clock: Clock,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._members = tuple(members)
        self._aclose_connections = aclose_connections
        self._log = reports.log
        self._clock = clock
        self._sender = Sender(settings.name, settings.sending, reports, clock)

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
        order = self._in_order()
        for place, member in enumerate(order, 1):
            if not member.origin.admits(self._clock.monotonic()):
                continue
            try:
                answered = await self._ask(member, order[place:], ask, attempts)
            except RestingError:
                continue
            except OverBudgetError:
                raise
            except UpstreamError as exc:
                # The next URL may do better. The last failure is raised, unless one URL is known to
                # have something else: asking again will not change that.
                failure = failure if isinstance(failure, VerificationError) else exc
                continue
            answer = answered.answer
            if _is_other(answer, expected_sha256):
                answer.broke("it states another checksum")
                answer.release()
                failure = self._differs(answer, expected_sha256)
                continue
            return self._response(answered, is_vouched=bool(expected_sha256)), answer
        raise failure or self._all_closed()

    def _response(self, answered: Answered, *, is_vouched: bool) -> UpstreamResponse:
        sender = self._sender
        return UpstreamResponse(
            answered.answer,
            on_broken=functools.partial(self._demote, answered.member.origin),
            is_vouched=is_vouched,
            pace=sender.content_wait_s if sender.paces_content else None,
        )

    def _in_order(self) -> list[Member]:
        """Return the members by preference, those that rest last."""
        now = self._clock.monotonic()
        return sorted(
            self._members, key=lambda member: not member.origin.preference.is_in_place(now)
        )

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
        wants_quiet = any(member.origin.is_left_alone(now) for member in self._members)
        return UpstreamError(
            self.name,
            "asked to be left alone (429)" if wants_quiet else "left alone after many failures",
            upstream_status=429 if wants_quiet else 0,
            retry_after_s=soonest_s,
            error_type=ErrorType.DESTINATION_UNAVAILABLE,
        )

    async def _ask(
        self, member: Member, others: Sequence[Member], ask: Ask, numbers: Iterator[int]
    ) -> Answered:
        """Ask one URL until it answers or the attempts are used up; `numbers` counts them."""
        origin = member.origin
        is_once = origin.is_asked_once(self._clock.monotonic())
        attempts = 1 if is_once else self._settings.attempts
        failures, failure = 0, None
        while True:
            try:
                return await self._sender.send(member, others, ask, next(numbers))
            except (CrowdedError, OverBudgetError):
                raise  # rule 5
            except RestingError:
                if failure is None:
                    raise
                self._note_failure(origin, failure, failures)
                raise failure from None  # others opened its circuit meanwhile
            except UpstreamError as exc:
                failures, failure = failures + 1, exc
                may_go_on = exc.retryable and origin.admits(self._clock.monotonic())
                step = next_step(
                    failures=failures if may_go_on else attempts,
                    attempts=attempts,
                    retry_after_s=exc.retry_after_s,
                    jitter=random.random(),
                    first_s=self._settings.backoff_first_s,
                )
                if isinstance(step, GiveUp):
                    self._note_failure(origin, exc, failures)
                    raise
                await asyncio.sleep(step.seconds)

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
