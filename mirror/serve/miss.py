"""A request that needs the keeper: asks, then answers from what comes back.

Rules:
1. The head goes out as soon as the keeper's answer says what is selected; `follow` sends content.
2. When the client leaves, whatever the keeper holds for it is released; the fill goes on there.
3. Upstream trouble never becomes 404; a stored copy that the index still names is better than 503,
   within `[freshness] stale_if_error` (RFC 5861 section 4).
4. Once a head is out a failure cuts the response: what was sent never looks complete.
5. An answer for a client's running sequence is of its generation: the keeper may have switched
   while it was asked, and then the former is in the index. What the index has of another one is no
   stale copy for this client; what the keeper has in its place begins another sequence.
6. A client reads one of a closed set of words about a failure, and a proxy error type (RFC 9209);
   the full text, which may name upstream's words and addresses, stays in the keeper's event. So
   does the cause when a body is cut: its head is out, and there are no trailers.

7. A miss that finds too many waiting (`miss_queue`) is answered at once, like upstream trouble:
   with the stored copy if there is one, else 503.

Runs in: worker. The only part of the request path that makes a task.
"""

from __future__ import annotations

import asyncio
from typing import Final

from mirror.accounting.layout import Outcome
from mirror.errors import ErrorType
from mirror.fill.bodies import GrowingBody, InlineBody, PassThroughBody, Reply
from mirror.fill.messages import Ask, Failed, Purpose, StoredAnswer
from mirror.fill.plan import AskKeeper, Serve
from mirror.http.cache_status import STALE_IF_ERROR, forwarded, with_reason
from mirror.http.freshness import is_too_stale, ttl_s
from mirror.http.proxy_status import proxy_status
from mirror.http.ranges import PartialContent, select_range
from mirror.route.route import Kind
from mirror.serve.answers import Answers, Call, Selected
from mirror.serve.follow import TOO_MUCH_HELD, Follower
from mirror.serve.generations import find_of_generation, generation_of
from mirror.serve.head import CACHE_NAME
from mirror.serve.miss_queue import MissPlace
from mirror.serve.outcomes import outcome_of
from mirror.serve.refusals import TextAnswer
from mirror.serve.shared import Shared
from mirror.store.entry import Stored

_ABSENT: Final = "No such object."
_UNAVAILABLE: Final = (
    "The object cannot be had at the moment, and no copy of it is stored here. Ask again; the "
    "mirror's operator sees the cause with `rust-mirror status`."
)
# Their answer is one reader's anyway, so waiting for another's ask is a round trip lost: 50 clients
# of a cold archive got their first bytes within 15 to 26 ms of each other, and 8 to 18 without it.
_MOSTLY_GROWING: Final = frozenset((Kind.ARCHIVE, Kind.RUSTUP_BINARY))
_TRIES: Final = 3  # a file may be evicted between the keeper's answer and the worker's open
# What a client may read about a failure, by its status.
_DETAILS: Final = {
    404: "no-such-object",
    502: "wrong-content",
    503: "unavailable",  # upstream, or this mirror
    504: "upstream-timeout",
}
_OTHER_DETAIL: Final = "failed"
_INTERNAL: Final = proxy_status(CACHE_NAME, ErrorType.PROXY_INTERNAL_ERROR)
_KEEPER_AWAY: Final = "keeper-away"
_NOT_HELD: Final = "too-much-held"
_BUSY: Final = "upstream-busy"  # no place at its gate in time
_QUEUED: Final = "queue-full"
_QUEUE_FULL: Final = Failed(
    status=503,
    reason="too many misses wait",
    retry_after_s=5,
    error_type=ErrorType.PROXY_INTERNAL_ERROR,
)
_UNKNOWN_LENGTH: Final = 1 << 62  # longer than any object; only a hint is made from it


class Miss:
    """One exchange with the keeper in it."""

    def __init__(
        self,
        answers: Answers,
        shared: Shared,
        call: Call,
        asked: AskKeeper,
    ) -> None:
        self._answers = answers
        self._shared = shared
        self._call = call
        self._stream = call.stream
        self._request = call.request
        self._route = call.route
        self._asked = asked
        self._follower: Follower | None = None
        self._place: MissPlace | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "asking" if self._follower is None else "following"
        return f"<Miss {self._route.key} {state}>"

    # What the stream calls.

    def start(self) -> None:
        place = self._shared.misses.enter()
        if place is None:
            self._shared.accounts.count("misses_turned_away")
            self._fail(_QUEUE_FULL)
            return
        self._place = place
        if self._stream.account is not None:
            self._stream.account.was_asked = True
        self._stream.occupy(self)
        self._task = asyncio.get_running_loop().create_task(self._run())
        # Not by the task itself: one that is cancelled before its first step runs nothing.
        self._task.add_done_callback(lambda _: place.release())

    def resume(self) -> None:
        if self._follower is not None:
            self._follower.resume()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    # The task.

    async def _run(self) -> None:
        try:
            await self._answer()
        except OSError:
            # The client left, or the content broke.
            self._stream.abort()
        except Exception as exc:  # noqa: BLE001 - the edge of a request
            self._shared.log.error(
                "request-failed",
                key=self._route.key,
                client=self._shared.client_of(self._stream.peer, self._request),
                error=f"{type(exc).__name__}: {exc}",
            )
            if self._follower is not None and self._follower.has_begun:
                self._stream.abort()
            else:
                self._text(500, "The mirror met a fault of its own.", proxy_status=_INTERNAL)

    async def _answer(self) -> None:
        """Ask until the answer can be used; a file may vanish in between, an object change."""
        for _ in range(_TRIES):
            reply = await self._ask()
            if self._place is not None:
                self._place.release()
            if self._answer_of_sequence(reply):
                return
            if not isinstance(reply, StoredAnswer):
                if await self._deliver(reply):
                    return
                continue
            trouble = self._answer_stored(reply)
            if trouble is None:
                return
            self._asked = trouble
        sentence = "The stored object is not usable."
        self._text(503, sentence, retry_after_s=1, proxy_status=_INTERNAL)

    async def _ask(self) -> Reply:
        if self._route.kind in _MOSTLY_GROWING:
            return await self._shared.asks.ask_alone(self._question())
        return await self._shared.asks.ask(self._question(), self._call.epoch)

    async def _ask_alone(self) -> Reply:
        return await self._shared.asks.ask_alone(self._question())

    def _question(self) -> Ask:
        start, end = self._wanted_range()
        return Ask(
            purpose=self._asked.purpose,
            key=self._route.key,
            claim=self._route.claim,
            range_start=start,
            range_end=end,
            is_conditional=self._request.conditions.if_range is not None,
            since=self._asked.since,
        )

    def _wanted_range(self) -> tuple[int, int]:
        """What the fill is to bring first; the range is selected when the length is known."""
        request = self._request
        if request.range is None or request.is_head or request.is_http10:
            return 0, -1
        wanted = select_range(request.range, _UNKNOWN_LENGTH)
        if not isinstance(wanted, PartialContent):
            return 0, -1
        if wanted.end < _UNKNOWN_LENGTH:
            return wanted.start, wanted.end
        is_suffix = wanted.start > _UNKNOWN_LENGTH // 2
        return (wanted.start - _UNKNOWN_LENGTH if is_suffix else wanted.start), -1

    async def _deliver(self, reply: Reply) -> bool:
        """False: what was asked for has changed meanwhile, and the client has nothing of it yet."""
        if isinstance(reply, InlineBody):
            words = self._words(reply.outcome)
            self._answers.inline(self._call, reply.entry, reply.content, words)
        elif isinstance(reply, Failed):
            self._fail(reply)
        elif isinstance(reply, GrowingBody | PassThroughBody):
            return await self._follow(reply)
        return True

    def _answer_of_sequence(self, reply: Reply) -> bool:
        """Answer from the generation that the client's sequence is of, if `reply` is of another."""
        turn, shared = self._call.turn, self._shared
        # A channel's files are small: no body of theirs comes in pieces.
        if turn is None or not isinstance(reply, StoredAnswer | InlineBody):
            return False
        # Looked at when the answer has come: another request of this client may have begun it.
        wanted = turn.wanted(shared.wheel.monotonic_ms)
        entry = reply.stored.entry if isinstance(reply, StoredAnswer) else reply.entry
        if not wanted or generation_of(entry.voucher) == wanted:
            return False
        stored = find_of_generation(shared.reader, self._route.key, wanted)
        if stored is None:
            return False
        if stored.entry.status != 200:
            self._answers.absent(self._call, stored.entry, self._asked.outcome)
            return True
        words = forwarded(self._asked.forward)
        selected = Selected(words=words, outcome=outcome_of(words))
        return self._answers.stored(self._call, _serve(stored, shared.wheel.now), selected) is None

    async def _follow(self, body: GrowingBody | PassThroughBody) -> bool:
        follower = self._follower = Follower(
            self._shared, self._call, forward=self._asked.forward, ask_again=self._ask_alone
        )
        try:
            if isinstance(body, GrowingBody):
                failure = await follower.follow(body)
            else:
                failure = await follower.relay(body)
        finally:
            follower.close()
            body.release()
        if failure is None:
            self._stream.finish()
        elif failure.is_left:
            return False
        else:
            self._fail(failure)
        return True

    # Complete answers.

    def _answer_stored(self, reply: StoredAnswer) -> AskKeeper | None:
        entry = reply.stored.entry
        words = self._words(reply.outcome)
        if entry.status != 200:
            self._answers.absent(self._call, entry, words)
            return None
        selected = Selected(
            words=words,
            outcome=outcome_of(words, is_stale=reply.is_stale),
            vouched_at=self._vouched_at(is_stale=reply.is_stale),
        )
        serve = _serve(reply.stored, self._shared.wheel.now)
        return self._answers.stored(self._call, serve, selected)

    def _words(self, outcome: str) -> str:
        """What the keeper says became of the request, with why it was asked."""
        return with_reason(outcome, self._asked.forward)

    def _vouched_at(self, *, is_stale: bool) -> float:
        """When a crate counts as vouched for that the keeper was asked to check."""
        if self._asked.purpose is not Purpose.REVALIDATE:
            return 0.0
        return self._shared.crate_listing.answered(self._shared.wheel.now, is_stale=is_stale)

    def _fail(self, failure: Failed) -> None:
        detail = self._detail(failure)
        if failure.status == 404:
            self._text(404, _ABSENT, words=forwarded(self._asked.forward, detail=detail))
            return
        if failure.status >= 500 and self._answer_stale(failure, detail):
            return
        # No Cache-Status: it is for answers that are based on a stored one (RFC 9211 section 2).
        self._text(
            failure.status,
            _UNAVAILABLE,
            retry_after_s=failure.retry_after_s or (failure.status == 503),
            proxy_status=proxy_status(
                CACHE_NAME,
                failure.error_type,
                received_status=failure.upstream_status,
                details=detail,
            ),
        )

    def _detail(self, failure: Failed) -> str:
        if failure is TOO_MUCH_HELD or failure is _QUEUE_FULL:
            return _NOT_HELD if failure is TOO_MUCH_HELD else _QUEUED
        if failure.error_type is ErrorType.CONNECTION_LIMIT_REACHED:
            return _BUSY
        if failure.status == 503 and not self._shared.keeper.is_connected:
            return _KEEPER_AWAY
        return _DETAILS.get(failure.status, _OTHER_DETAIL)

    def _answer_stale(self, failure: Failed, detail: str) -> bool:
        """Serve what the index still names, within `stale_if_error`; a withdrawn object is not
        there."""
        stored, now = self._stale_copy(), self._shared.wheel.now
        if stored is None or stored.entry.status != 200:
            return False
        entry, limit_s = stored.entry, self._shared.freshness_rules.error_s
        if is_too_stale(entry.fresh_until, entry.confirmed_at, now, limit_s=limit_s):
            return False
        if self._route.claim not in (b"", entry.digest):
            return False
        serve = _serve(stored, now)
        selected = Selected(
            words=forwarded(
                self._asked.forward,
                status=failure.upstream_status or None,
                ttl_s=serve.ttl_s,
                detail=f"{STALE_IF_ERROR}, {detail}",
            ),
            outcome=Outcome.STALE,
            vouched_at=self._vouched_at(is_stale=True),
        )
        return self._answers.stored(self._call, serve, selected) is None

    def _stale_copy(self) -> Stored | None:
        turn, reader = self._call.turn, self._shared.reader
        wanted = 0 if turn is None else turn.wanted(self._shared.wheel.monotonic_ms)
        if wanted:
            return find_of_generation(reader, self._route.key, wanted)
        return reader.lookup(self._route.key)

    def _text(
        self,
        status: int,
        sentence: str,
        *,
        retry_after_s: int = 0,
        words: str = "",
        proxy_status: bytes = b"",
    ) -> None:
        answer = TextAnswer(
            status=status,
            sentence=sentence,
            retry_after_s=retry_after_s,
            words=words,
            proxy_status=proxy_status,
        )
        self._answers.text(self._stream, self._request, answer)


def _serve(stored: Stored, now: float) -> Serve:
    return Serve(stored=stored, ttl_s=ttl_s(stored.entry.fresh_until, now))
