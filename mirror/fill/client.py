"""The worker's end of the socket: asks the keeper, outlives its restarts, never leaves a waiter.

Rules:
1. One connection; reconnecting begins at once and backs off from 50 ms to 0.2 s.
2. An ask that waits when the connection is lost is sent again on the next one. It ends with
   `Failed(503)` when no keeper came within `wait_s` of the loss, or after `LOSSES_MAX` losses: an
   ask that kills its keeper must not kill every keeper after it.
3. A growing body whose connection is lost asks again for its key; `bodies` says when it goes on.
4. One PROGRESS moves all followers of its flight within one turn of the loop.
5. What is told without waiting (`notices`) is dropped first, and never sent across a loss.

A race, and why it is harmless:
    1. the last follower of a flight is released; CANCEL is sent
    2. meanwhile the keeper sends PROGRESS of that flight
    3. the frame finds no flight here and is ignored, as is every frame of an unknown stream.

Does not: decide what to ask (`plan`), read files, or speak to clients.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import struct
from collections.abc import Sequence

from mirror.clock import Clock
from mirror.errors import ErrorType
from mirror.events import EventLog
from mirror.fill.bodies import GrowingBody, InlineBody, PassThroughBody, Reply
from mirror.fill.exchange import Exchange, Outcome
from mirror.fill.followers import Followers
from mirror.fill.frames import INITIAL_CREDIT_BYTES, Frame, FrameError, FrameType
from mirror.fill.link import KeeperLink
from mirror.fill.messages import (
    Ask,
    Check,
    Code,
    Failed,
    GrowingAnswer,
    InlineAnswer,
    PassThroughAnswer,
    Progress,
    Uses,
    decode,
    decode_answer,
)
from mirror.fill.notices import Notices
from mirror.store.files import REAL_FILES, Files
from mirror.store.layout import blob_path

__all__ = ["GrowingBody", "InlineBody", "KeeperClient", "PassThroughBody", "Reply"]

BACKOFF_FIRST_S = 0.05
BACKOFF_LONGEST_S = 0.2  # a look at a local socket is cheap, and every miss waits for it
GREETING_S = 2.0  # a keeper that accepts and says nothing is hung
LOSSES_MAX = 3
RETRY_AFTER_S = 2  # the supervisor has a keeper back in less
_CREDIT_STEP_BYTES = INITIAL_CREDIT_BYTES // 4
_CREDIT = struct.Struct("!I")
_INTERNAL = ErrorType.PROXY_INTERNAL_ERROR
_failed = functools.partial(Failed, status=503, retry_after_s=RETRY_AFTER_S, error_type=_INTERNAL)
_AWAY = _failed(reason="the keeper is away")
_UNSTORED = _failed(reason="the next keeper cannot store it", is_unstored=True)
_STOPPING = _failed(reason="the worker is stopping")


class KeeperClient:
    """`start` in the running loop; `aclose` ends every wait with a failure."""

    def __init__(
        self,
        socket_path: str,
        slot: int,
        *,
        store_path: str,
        wait_s: float,
        clock: Clock,
        log: EventLog,
        files: Files = REAL_FILES,
    ) -> None:
        self._socket_path = socket_path
        self._slot = slot
        self._store_path = store_path
        self._wait_s = wait_s
        self._clock = clock
        self._log = log
        self._files = files
        self._link: KeeperLink | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost_at: float | None = None
        self._is_closed = False
        self._last_stream = 0
        self._waiting: dict[Exchange, None] = {}  # unanswered, in the order of asking
        self._streams: dict[int, Exchange | PassThroughBody] = {}
        self._followers = Followers()
        self._resuming: dict[GrowingBody, Exchange] = {}
        self._owed: dict[int, int] = {}  # stream -> bytes taken and not yet credited
        self._notices = Notices(self._tell, clock)
        self.used = self._notices.used
        self.check = self._notices.check
        self.revalidate = self._notices.revalidate
        self.code = self._notices.code

    @property
    def _absence(self) -> Failed:
        return _STOPPING if self._is_closed else _AWAY

    @property
    def is_connected(self) -> bool:
        return self._link is not None

    def start(self) -> None:
        """Begin to connect; must be called once, inside the running loop."""
        self._task = asyncio.create_task(self._stay_connected(), name="keeper client")
        self._notices.start()

    async def aclose(self) -> None:
        """Disconnect; what waits ends with `Failed(503)`. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._notices.stop()
            await asyncio.sleep(0)  # the loop writes what was told at the end of this turn
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        for exchange in tuple(self._waiting):
            self._settle(exchange, _STOPPING)
        link = self._link
        if link is not None:
            self.link_closed(link)
            link.cut()
            await link.closed

    async def ask(self, ask: Ask) -> Reply:
        """Return the keeper's answer; never raises, except CancelledError.

        Cancelled, it tells the keeper that nobody waits any more.
        """
        if self._is_closed:
            return _STOPPING
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        exchange = Exchange(ask, functools.partial(self._answer, answered))
        self._submit(exchange)
        try:
            return await answered
        except asyncio.CancelledError:
            self._drop(exchange)
            # Answered in the turn of the cancellation: nobody will take the body.
            if answered.done() and not answered.cancelled():
                _release(answered.result())
            raise

    # The connection.

    async def _stay_connected(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            link = KeeperLink(self._slot, self, self._log)
            try:
                if await self._connect(link):
                    backoff_s = BACKOFF_FIRST_S
                    await link.closed
            finally:
                link.cut()
            await asyncio.sleep(backoff_s)
            backoff_s = min(BACKOFF_LONGEST_S, backoff_s * 2)

    async def _connect(self, link: KeeperLink) -> bool:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: link, self._socket_path)
        except OSError:
            return False  # no keeper at the moment; `keeper-lost` has said so once
        ends = (link.greeted, link.closed)
        await asyncio.wait(ends, timeout=GREETING_S, return_when=asyncio.FIRST_COMPLETED)
        return link.is_greeted

    def link_opened(self, link: KeeperLink) -> None:
        self._link = link
        away_s = 0.0 if self._lost_at is None else self._clock.monotonic() - self._lost_at
        self._lost_at = None
        self._log.info("keeper-connected", slot=self._slot, away_s=round(away_s, 3))
        for exchange in tuple(self._waiting):
            exchange.stop_timer()
            self._send_ask(link, exchange)

    def link_closed(self, link: KeeperLink) -> None:
        if self._link is not link:
            return
        self._link = None
        self._lost_at = self._clock.monotonic()
        self._last_stream = 0
        self._owed.clear()
        self._notices.clear()
        owners, self._streams = tuple(self._streams.values()), {}
        bodies = self._followers.scatter()
        if not self._is_closed:
            self._log.warning(
                "keeper-lost", slot=self._slot, waiting=len(self._waiting), following=len(bodies)
            )
        for owner in owners:
            if isinstance(owner, PassThroughBody):
                owner.finish(self._absence)
            else:
                self._lose(owner)
        for body in bodies:
            self._lose_body(body)

    def _lose(self, exchange: Exchange) -> None:
        exchange.lost()
        if self._is_closed or exchange.losses >= LOSSES_MAX:
            self._settle(exchange, self._absence)
        else:
            exchange.start_timer(self._wait_s, self._expire)

    def _lose_body(self, body: GrowingBody) -> None:
        if body.is_over:
            return
        body.losses += 1
        if self._is_closed or body.losses >= LOSSES_MAX:
            body.fail(self._absence)
            return
        exchange = Exchange(body.ask, functools.partial(self._resume, body), losses=body.losses)
        self._resuming[body] = exchange
        self._submit(exchange)

    # Asking.

    def _submit(self, exchange: Exchange) -> None:
        self._waiting[exchange] = None
        if self._link is not None:
            self._send_ask(self._link, exchange)
        else:
            exchange.start_timer(self._wait_s, self._expire)

    def _send_ask(self, link: KeeperLink, exchange: Exchange) -> None:
        self._last_stream += 1
        exchange.stream = self._last_stream
        self._streams[exchange.stream] = exchange
        link.send(FrameType.ASK, exchange.stream, exchange.ask)

    def _expire(self, exchange: Exchange) -> None:
        self._settle(exchange, _AWAY)

    def _settle(self, exchange: Exchange, outcome: Outcome) -> None:
        self._forget(exchange)
        exchange.deliver(outcome)

    def _forget(self, exchange: Exchange) -> None:
        self._waiting.pop(exchange, None)
        if self._streams.get(exchange.stream) is exchange:
            del self._streams[exchange.stream]
        self._owed.pop(exchange.stream, None)
        exchange.stop_timer()

    def _drop(self, exchange: Exchange) -> None:
        if exchange in self._waiting:
            self._forget(exchange)
            self._cancel(exchange.stream)

    def _cancel(self, stream: int) -> None:
        if self._link is not None and stream:
            self._link.send(FrameType.CANCEL, stream)

    # Answers.

    def _answer(
        self, answered: asyncio.Future[Reply], exchange: Exchange, outcome: Outcome
    ) -> None:
        reply: Reply
        if isinstance(outcome, GrowingAnswer):
            reply = GrowingBody(
                outcome,
                ask=exchange.ask,
                blob_path=blob_path(self._store_path, outcome.entry.digest),
                files=self._files,
                on_release=self._released,
            )
            self._followers.follow(outcome.flight, reply, exchange.stream)
        else:
            reply = outcome
        if answered.done():
            _release(reply)
        else:
            answered.set_result(reply)

    def _resume(self, body: GrowingBody, exchange: Exchange, outcome: Outcome) -> None:
        self._resuming.pop(body, None)
        if isinstance(outcome, PassThroughBody):
            outcome.release()  # whoever asks again gets one from its beginning
            outcome = _UNSTORED
        goes_on = body.resume(outcome)
        if isinstance(outcome, GrowingAnswer):
            self._followers.follow(outcome.flight, body, exchange.stream)
        if not goes_on:
            self._released(body)

    def _released(self, body: GrowingBody) -> None:
        exchange = self._resuming.pop(body, None)
        if exchange is not None:
            self._drop(exchange)
        for stream in self._followers.leave(body):
            self._cancel(stream)

    # Frames.

    def link_frame(self, link: KeeperLink, frame: Frame) -> None:
        if frame.type is FrameType.PROGRESS:
            self._followers.advance(decode(Progress, frame.payload))
        elif frame.type is FrameType.ANSWER:
            self._on_answer(frame)
        elif frame.type is FrameType.DATA:
            self._on_data(frame)
        elif frame.type is FrameType.END:
            self._on_end(frame)
        elif frame.type is not FrameType.CREDIT:  # asks carry no content in this version
            raise FrameError(f"{frame.type.name} from the keeper")

    def _on_answer(self, frame: Frame) -> None:
        exchange = self._streams.get(frame.stream)
        if not isinstance(exchange, Exchange):
            return
        answer = decode_answer(frame.payload)
        if isinstance(answer, InlineAnswer):
            exchange.begin_inline(answer)
        elif isinstance(answer, PassThroughAnswer):
            stream = frame.stream
            body = PassThroughBody(
                answer.entry,
                answer.length,
                on_read=functools.partial(self._credit, stream),
                on_release=functools.partial(self._pass_through_released, stream),
            )
            self._forget(exchange)
            self._streams[stream] = body
            exchange.deliver(body)
        else:
            self._settle(exchange, answer)

    def _on_data(self, frame: Frame) -> None:
        owner = self._streams.get(frame.stream)
        if isinstance(owner, PassThroughBody):
            owner.feed(frame.payload)
        elif owner is not None:
            if not owner.take(frame.payload):
                raise FrameError("inline content that was not announced")
            self._credit(frame.stream, len(frame.payload))

    def _on_end(self, frame: Frame) -> None:
        owner = self._streams.get(frame.stream)
        if owner is None:
            return
        failure = decode(Failed, frame.payload) if frame.payload else None
        if isinstance(owner, PassThroughBody):
            del self._streams[frame.stream]
            self._owed.pop(frame.stream, None)
            owner.finish(failure)
        else:
            self._settle(owner, failure or owner.complete())

    # Credit and notices.

    def _credit(self, stream: int, taken_bytes: int) -> None:
        """Give back what was taken, in steps: a frame per step, not per chunk."""
        owed = self._owed.get(stream, 0) + taken_bytes
        if owed >= _CREDIT_STEP_BYTES and self._link is not None and stream in self._streams:
            self._link.send_raw(FrameType.CREDIT, stream, _CREDIT.pack(owed))
            owed = 0
        self._owed[stream] = owed

    def _pass_through_released(self, stream: int) -> None:
        if self._streams.pop(stream, None) is not None:
            self._owed.pop(stream, None)
            self._cancel(stream)

    def _tell(self, type: FrameType, messages: Sequence[Uses | Check | Code]) -> None:
        if self._link is None or self._link.is_congested:
            self._notices.clear()  # else what could not be sent would count as sent
            return
        for message in messages:
            self._link.send(type, 0, message)

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "connected" if self._link else "away"
        return (
            f"<KeeperClient slot {self._slot} {state} "
            f"{len(self._waiting)} asks {len(self._followers)} flights>"
        )


def _release(reply: Reply) -> None:
    if isinstance(reply, GrowingBody | PassThroughBody):
        reply.release()
