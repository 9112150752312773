"""One request of a pool: admitted, paid for, accounted, and hedged when its answer is slow.

Rules:
1. Every request that goes out is paid from the pool's budget, redirects and further forms too; who
   would wait longer than `queue_wait_s` for its turn is refused at once, and told when to return.
2. A hedge is a second GET, sent when no head has come for `hedge_after_s`: to the next URL that may
   be asked, else to the same one anew. It waits for nothing: without a turn in the budgets at once
   there is none. A body that flows is never asked for twice.
3. What each request says of its URL counts, the loser of a race says nothing: it was left.

Units: seconds.
Does not: try again, or choose the order of URLs (`pool`).
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from mirror.clock import Clock
from mirror.errors import ErrorType, UpstreamError
from mirror.events import EventLog
from mirror.upstream.asking import Answer, Ask, Asker, CrowdedError
from mirror.upstream.breaker import Circuit
from mirror.upstream.budgets import HedgeBudget, Pace
from mirror.upstream.origin import Origin
from mirror.upstream.racing import race
from mirror.upstream.traffic import Exchange, Tally, TrafficMeter


class RestingError(UpstreamError):
    """The URL may not be asked: its circuit is open, or it asked for quiet."""


class OverBudgetError(UpstreamError):
    """Our own budget of requests is used up for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingLimits:
    """`hedge_after_s` 0: no hedges. `queue_wait_s`: the longest that a request waits for its turn.

    `requests` and `content` are what the pool may ask for and read, `hedges` how often twice.
    """

    requests: Pace
    content: Pace
    hedges: HedgeBudget
    hedge_after_s: float
    queue_wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Where a pool tells what it does."""

    meter: TrafficMeter
    tally: Tally
    log: EventLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One URL of a pool: how it has behaved, and how it is asked."""

    origin: Origin
    asker: Asker


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer, and whose it is."""

    member: Member
    answer: Answer

    def release(self) -> None:
        self.answer.release()


class Sender:
    """Sends the requests of the pool `name`."""

    def __init__(self, name: str, limits: SendingLimits, reports: Reports, clock: Clock) -> None:
        self._name = name
        self._limits = limits
        self._reports = reports
        self._clock = clock

    async def send(
        self, member: Member, others: Iterable[Member], ask: Ask, attempt: int
    ) -> Answered:
        """Ask `member`, and when it is slow the first of `others` that may be asked, or it again.

        `attempt` counts from 1. Raises: UpstreamError, RestingError, OverBudgetError, CrowdedError.
        """
        await self._pay(member)
        limits = self._limits
        limits.hedges.earn()
        request = self._request(member, ask, attempt)
        if not limits.hedge_after_s or ask.method != "GET" or not limits.hedges.is_open:
            return await request

        answered, is_hedge = await race(
            request, limits.hedge_after_s, lambda: self._hedge(member, others, ask, attempt)
        )
        if is_hedge:
            self._reports.tally.add("upstream_hedges_won")
        return answered

    def content_wait_s(self, nbytes: int) -> float:
        """Count content that was read; return how long to wait before more is read."""
        return self._limits.content.take(nbytes, self._clock.monotonic())

    @property
    def paces_content(self) -> bool:
        return self._limits.content.is_limited

    async def _pay(self, member: Member) -> None:
        """Wait for the turn of one request. Raises: OverBudgetError."""
        limits, now = self._limits, self._clock.monotonic()
        wait_s = limits.requests.take(1, now, longest_s=limits.queue_wait_s)
        if wait_s < 0:
            self._reports.tally.add("upstream_waits_refused")
            raise OverBudgetError(
                member.origin.base,
                "it is not asked more often ([upstream] max_requests)",
                retry_after_s=limits.requests.wait_s(1, now),
                error_type=ErrorType.CONNECTION_LIMIT_REACHED,
            )
        if wait_s:
            self._reports.tally.add("upstream_waits")
            try:
                await asyncio.sleep(wait_s)
            except asyncio.CancelledError:
                limits.requests.give_back(1)  # nobody was asked
                raise

    def _hedge(
        self, member: Member, others: Iterable[Member], ask: Ask, attempt: int
    ) -> Coroutine[Any, Any, Answered] | None:
        limits, now = self._limits, self._clock.monotonic()
        target = next((each for each in (*others, member) if _is_well(each, now)), None)
        if target is None or limits.requests.wait_s(1, now) or not limits.hedges.spend():
            return None
        limits.requests.take(1, now)
        self._reports.tally.add("upstream_hedges")
        self._reports.log.info(
            "upstream-hedged", pool=self._name, url=target.origin.base, path=ask.path
        )
        # The same number: it repeats nothing that failed.
        return self._request(target, ask, attempt)

    async def _request(self, member: Member, ask: Ask, attempt: int) -> Answered:
        origin, clock = member.origin, self._clock
        now = clock.monotonic()
        if not origin.admits(now):
            raise RestingError(origin.base, "left alone", retry_after_s=origin.closed_for_s(now))
        turn = origin.enter(now)
        try:
            answer = await member.asker.ask(ask, _Account(self, origin, ask, attempt))
        except CrowdedError:
            raise  # nobody was asked
        except UpstreamError as exc:
            jitter = random.random()
            if turn.failed(clock.monotonic(), exc, ask.path, jitter=jitter):
                self._opened(origin, exc)
            raise
        finally:
            turn.left()
        if turn.succeeded(clock.monotonic()):
            self._reports.log.info("upstream-circuit-closed", pool=self._name, url=origin.base)
        return Answered(member=member, answer=answer)

    def _opened(self, origin: Origin, error: UpstreamError) -> None:
        """One event per outage: what its probes find is counted, not told."""
        self._reports.tally.add("upstream_circuits_opened")
        if origin.breaker.openings == 1:
            self._reports.log.warning(
                "upstream-circuit-opened",
                pool=self._name,
                url=origin.base,
                reason=error.reason,
                rests_for_s=round(origin.closed_for_s(self._clock.monotonic()), 1),
            )

    def account(self, origin: Origin, ask: Ask, attempt: int, *, is_paid: bool) -> Exchange:
        """Return the account of one request that goes out."""
        if not is_paid:
            self._limits.requests.take(1, self._clock.monotonic())  # owed: those behind it wait
        return self._reports.meter.exchange(
            self._name, origin.base, ask.path, method=ask.method, attempt=attempt
        )


class _Account:
    """A `traffic.NewExchange`; the first of an attempt has been paid for."""

    __slots__ = ("_is_paid", "_what", "_whose")

    def __init__(self, whose: Sender, origin: Origin, ask: Ask, attempt: int) -> None:
        self._whose = whose
        self._what = (origin, ask, attempt)
        self._is_paid = True

    def __call__(self) -> Exchange:
        is_paid, self._is_paid = self._is_paid, False
        return self._whose.account(*self._what, is_paid=is_paid)


def _is_well(member: Member, now: float) -> bool:
    """Whether a hedge may go there: one that fails would be a request for nothing."""
    origin = member.origin
    is_closed = origin.breaker.circuit(now) is Circuit.CLOSED
    return is_closed and origin.admits(now) and origin.preference.is_in_place(now)
