"""Sending content that the keeper is still bringing.

Rules:
1. A whole representation goes as far as `sendable`, a part of one as far as its bytes are there,
   in the prefix or ahead of it (unless `[trust] unverified_ranges = "wait"`: then nothing before it
   is verified). The head of a part waits for its first byte.
2. HTTP/1.0 gets nothing before all of it is verified: without chunked coding a client may take
   the end of the connection for the end of the content. What cannot be stored is held in memory
   for it meanwhile, within the bounds of `held`.
3. Before the head is out, a failure is returned and becomes a status; afterwards it is raised as
   BrokenBodyError and the caller cuts the response: no last chunk, never the announced length.
4. Of content that is known to be wrong (502) nothing more is sent, not even to complete a part; of
   what merely ended early a part may be complete all the same.
5. What the disk gave up under is asked for again, once: from the start while nothing is out, else
   by `rejoining`.

Units: bytes, half-open offsets.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from mirror.accounting.layout import Outcome
from mirror.errors import ErrorType
from mirror.fill.bodies import BodyAborted, GrowingBody, PassThroughBody, Reply
from mirror.fill.messages import Failed, FlightState
from mirror.http.cache_status import Forward, cache_status, forwarded
from mirror.http.freshness import ttl_s
from mirror.serve.account import Account
from mirror.serve.answers import Call
from mirror.serve.head import CACHE_NAME
from mirror.serve.held import Hold
from mirror.serve.hot_entry import SMALL_BYTES
from mirror.serve.multipart_source import present
from mirror.serve.rejoining import BrokenBodyError, Rejoining
from mirror.serve.representation import describe
from mirror.serve.respond import ResponsePlan, build
from mirror.serve.sender import TURN_BYTES, Sender
from mirror.serve.senders import sender_for
from mirror.serve.shared import Shared
from mirror.serve.sources import ContentSource, FileSource, Source
from mirror.store.entry import Entry

TOO_MUCH_HELD: Final = Failed(
    status=503,
    reason="too much to hold for HTTP/1.0",
    retry_after_s=60,
    error_type=ErrorType.PROXY_INTERNAL_ERROR,
)
_WRONG_CONTENT: Final = 502
_END_WAIT_S: Final = 0.1  # what is announced takes a turn of two loops
# Its file went before it was opened here: the keeper knows where it is.
_GONE: Final = Failed(status=503, reason="the body ended early", retry_after_s=1, is_unstored=True)


class Follower:
    """Sends one body on one stream, as it grows."""

    def __init__(
        self,
        shared: Shared,
        call: Call,
        *,
        forward: Forward,
        ask_again: Callable[[], Awaitable[Reply]],
    ) -> None:
        self._ask_again = ask_again
        self._shared = shared
        self._stream = call.stream
        self._request = call.request
        self._route = call.route
        self._forward = forward
        self._account: Account | None = call.stream.account
        self._sender: Sender | None = None
        self.has_begun = False

    def resume(self) -> None:
        """The client reads again."""
        if self._sender is not None:
            self._sender.resume()

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()

    # A file that grows.

    async def follow(self, body: GrowingBody) -> Failed | None:
        """Answer from `body`; what failed before the head was out, else None.

        Raises: OSError when the client is gone or the content cannot be completed.
        """
        if self._request.is_http10:
            await self._until_over(body)
        plan = self._plan(body.entry, body.length, body)
        is_part = body.is_part = plan.is_part_of(body.length)
        may_stream = not is_part or self._shared.config.trust.unverified_ranges == "stream"
        if not may_stream or 0 <= body.length <= SMALL_BYTES:
            # A small one is withheld whole anyway; waiting lets a failure become a clean status.
            await self._until_over(body)
        elif is_part:
            await self._until_readable(body, plan)
        if body.state is FlightState.FAILED:
            return body.failure or _GONE
        if not plan.has_segment:
            self._begin(plan)
            return None
        body.sent = 0  # nothing given out yet: after a keeper restart any file will do
        try:
            source = self._source(body, plan)
        except FileNotFoundError:
            # The disk gave up under it: its end is being announced, and asking again before that
            # would bring the same file.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_WAIT_S):
                    await self._until_over(body)
            return body.failure or _GONE
        except OSError:
            return _GONE
        sender = self._sender = self._sender_of(source, plan.start)
        self._begin(plan)
        await self._send_growing(body, sender, plan, is_part=is_part)
        return None

    async def _send_growing(
        self, body: GrowingBody, sender: Sender, plan: ResponsePlan, *, is_part: bool
    ) -> None:
        def available_from(offset: int) -> int:
            return body.readable_end(offset) if is_part else body.sendable

        epoch = body.epoch
        while sender.at != plan.end:
            # Read before the wait: `moved` returns at once when any of it is out of date.
            state = body.state
            if body.epoch != epoch:
                # The keeper was replaced: go on in what the next one has.
                epoch = body.epoch
                sender.replace(self._source(body, plan))
            if body.failure is not None and body.failure.status == _WRONG_CONTENT:
                raise BrokenBodyError("the content is wrong")
            limit = plan.reach(available_from)
            if is_part and state is FlightState.RUNNING:
                limit = min(limit, sender.at + TURN_BYTES)  # looked at again between: rule 4
            if limit > sender.at:
                await self._send_window(body, sender, limit, plan)
            elif state is FlightState.VERIFIED and plan.is_endless and sender.at == body.length:
                self._stream.end()
                return
            elif state is not FlightState.RUNNING:
                await self._rejoin(body, sender, plan)
                return
            else:
                await body.moved()

    async def _rejoin(self, body: GrowingBody, sender: Sender, plan: ResponsePlan) -> None:
        """Bring the rest of a body whose file ended early. Raises OSError."""
        if not Rejoining.can_follow(body, plan):
            raise BrokenBodyError("the fill failed")

        async def send(piece: memoryview) -> None:
            await self._send_piece(piece, is_endless=plan.is_endless)

        rejoining = Rejoining(self._shared, plan, ask_again=self._ask_again, send=send)
        try:
            end = await rejoining.finish(body, sender.source, sender)
        finally:
            self._sender = sender  # not that of the last piece: it has a file to close
        if end > sender.at:
            if plan.is_endless:
                self._stream.begin_chunk(end - sender.at)
            await sender.send(end)
        if plan.is_endless:
            self._stream.end()

    def _source(self, body: GrowingBody, plan: ResponsePlan) -> Source:
        """What `plan` sends, as far as it is there. Raises OSError."""
        if body.content is not None:
            return present(plan.parts, ContentSource(body.content))
        return present(plan.parts, FileSource(self._shared.pages, body.open()))

    async def _send_window(
        self, body: GrowingBody, sender: Sender, limit: int, plan: ResponsePlan
    ) -> None:
        if plan.is_endless:
            self._stream.begin_chunk(limit - sender.at)
        # Before it goes out: a keeper lost meanwhile must find it counted as given.
        body.sent = plan.given(limit)
        try:
            await sender.send(limit)
        finally:
            body.sent = plan.given(sender.at)

    @staticmethod
    async def _until_readable(body: GrowingBody, plan: ResponsePlan) -> None:
        """Wait for the first bytes of a part: until then a failure can be a clean status."""
        first_at = plan.first_byte_at
        while body.state is FlightState.RUNNING and plan.reach(body.readable_end) <= first_at:
            await body.moved()

    @staticmethod
    async def _until_over(body: GrowingBody) -> None:
        while body.state is FlightState.RUNNING:
            await body.moved()

    # A body that passes through.

    async def relay(self, body: PassThroughBody) -> Failed | None:
        """As `follow`, for content that comes in pieces and is not stored; ranges are ignored."""
        if self._request.is_http10:
            return await self._relay_held(body)
        plan = self._plan(body.entry, body.length)
        self._begin(plan)
        if not plan.has_segment:
            return None
        left_bytes = body.length
        try:
            while piece := await body.read():
                left_bytes -= len(piece)
                if left_bytes < 0 <= body.length:
                    # Behind the announced length a client reads another response.
                    raise BrokenBodyError("the body is longer than announced")
                await self._send_piece(piece, is_endless=plan.is_endless)
        except BodyAborted as exc:
            raise BrokenBodyError("the body was aborted") from exc
        if plan.is_endless:
            self._stream.end()
        elif left_bytes:
            raise BrokenBodyError("the body has another length than announced")
        return None

    async def _relay_held(self, body: PassThroughBody) -> Failed | None:
        hold = Hold(self._shared.held)
        try:
            while piece := await body.read():
                if not hold.add(piece):
                    return TOO_MUCH_HELD
            await self._send_held(body, hold.content)
        except BodyAborted:
            return _GONE
        finally:
            self.close()  # before what it sends from is given up
            hold.release()
        return None

    async def _send_held(self, body: PassThroughBody, content: bytearray) -> None:
        plan = self._plan(body.entry, len(content))
        self._begin(plan)
        if plan.has_segment:
            source = ContentSource(content)
            sender = self._sender_of(source, plan.start)
            self._sender = sender
            await sender.send(plan.end)

    async def _send_piece(self, piece: bytes | memoryview, *, is_endless: bool) -> None:
        if is_endless:
            self._stream.begin_chunk(len(piece))
        sender = self._sender_of(ContentSource(piece), 0)
        self._sender = sender
        try:
            await sender.send(len(piece))
        finally:
            sender.close()

    # Both.

    def _plan(self, entry: Entry, length: int, body: GrowingBody | None = None) -> ResponsePlan:
        """Plan the answer from a file that grows, or from what passes through: that is whole."""
        collapsed = body is not None and body.collapsed
        stored = body is not None and body.is_kept
        left_s = ttl_s(entry.fresh_until, self._shared.wheel.now)
        words = forwarded(self._forward, ttl_s=left_s, stored=stored, collapsed=collapsed)
        if self._account is not None:
            outcome = Outcome.COLLAPSED if collapsed else Outcome.MISS
            self._account.answers(outcome, words, length)
        return build(
            self._request.whole() if body is None else self._request,
            describe(entry, self._route, length),
            now=self._shared.wheel.now,
            cache_status=cache_status(CACHE_NAME, words),
            rules=self._shared.range_rules,
        )

    def _sender_of(self, source: Source, at: int) -> Sender:
        return sender_for(self._stream, source, at, self._account, self._count_content)

    def _begin(self, plan: ResponsePlan) -> None:
        self.has_begun = True
        if plan.has_segment:
            self._stream.begin(plan.head, plan.content_bytes)
        else:
            self._stream.answer(plan.head, plan.text)

    def _count_content(self, content_bytes: int) -> None:
        if self._account is not None:
            self._account.count_content(content_bytes)
