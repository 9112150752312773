"""A body whose file the disk gave up under it: fetched again, and gone on with where it stopped.

Rules:
1. What was given out came before its digest agreed. It is compared, byte for byte, with the
   beginning of what comes now, which is verified: other bytes would make a complete wrong
   representation, and cut the response.
2. What comes now is of the same digest and length, or it is not gone on with.
3. The former source is read for the comparison alone: its name is gone, its bytes are still there.

Units: bytes, half-open offsets of the representation.
Does not: begin a response, or ask a third time.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mirror.fill.bodies import BodyAborted, GrowingBody, InlineBody, PassThroughBody, Reply
from mirror.fill.messages import FlightState, StoredAnswer
from mirror.serve.respond import ResponsePlan
from mirror.serve.sender import Sender
from mirror.serve.shared import Shared
from mirror.serve.sources import ContentSource, FileSource, Source
from mirror.store.entry import Entry
from mirror.store.reader import BlobFile

_COMPARED_BYTES = 262144


class BrokenBodyError(OSError):
    """The content cannot be completed, and its head is out."""


class Rejoining:
    """One response that lost its file. `send` passes a piece of content on to the client."""

    def __init__(
        self,
        shared: Shared,
        plan: ResponsePlan,
        *,
        ask_again: Callable[[], Awaitable[Reply]],
        send: Callable[[memoryview], Awaitable[None]],
    ) -> None:
        self._shared = shared
        self._plan = plan
        self._ask_again = ask_again
        self._send = send

    @staticmethod
    def can_follow(body: GrowingBody, plan: ResponsePlan) -> bool:
        """Whether `body` ended so that it may be had again, and `plan` sends one stretch of it."""
        return body.failure is not None and body.failure.is_unstored and plan.parts is None

    async def finish(self, body: GrowingBody, source: Source, sender: Sender) -> int:
        """Send the rest, or let `sender` have it: return up to where it then can; 0: nothing left.

        `sender` gave bytes out of `source`, and owns it. Raises: OSError when the client is gone or
        the content cannot be completed.
        """
        reply = await self._ask_again()
        try:
            if isinstance(reply, PassThroughBody):
                self._require_same(body, reply.entry, reply.length)
                await self._relay(reply, source, sender.at)
                return 0
            other, length = await self._source_of(body, reply)
        except BodyAborted as exc:
            raise BrokenBodyError("the body was aborted") from exc
        finally:
            if isinstance(reply, GrowingBody | PassThroughBody):
                reply.release()
        await self._change_over(source, other, sender)
        return length if self._plan.is_endless else self._plan.end

    def _require_same(self, body: GrowingBody, entry: Entry, length: int) -> None:
        is_same = entry.status == 200 and entry.digest == body.entry.digest
        if not is_same or (-1 not in (length, body.length) and length != body.length):
            raise BrokenBodyError("the body became another one")

    # From upstream, past the disk.

    async def _relay(self, body: PassThroughBody, given: Source, at: int) -> None:
        offset = 0
        while piece := await body.read():
            begin, offset = offset, offset + len(piece)
            view = memoryview(piece)
            first = max(begin, self._plan.start)
            if first < min(offset, at):
                await _require_equal(given, first, view[first - begin : min(offset, at) - begin])
            rest = view[max(0, at - begin) :]
            if self._plan.end >= 0:
                rest = rest[: max(0, self._plan.end - max(begin, at))]
            if rest:
                await self._send(rest)
            if 0 <= self._plan.end <= offset and self._plan.end != body.length:
                return  # a part of it, complete
        if self._plan.end >= 0 and offset < self._plan.end:
            raise BrokenBodyError("the body has another length than announced")

    # From another file, or from memory.

    async def _source_of(self, body: GrowingBody, reply: Reply) -> tuple[Source, int]:
        """Return what holds the verified whole, and its length. Raises OSError."""
        if isinstance(reply, InlineBody):
            self._require_same(body, reply.entry, len(reply.content))
            return ContentSource(reply.content), len(reply.content)
        if isinstance(reply, StoredAnswer):
            entry = reply.stored.entry
            self._require_same(body, entry, entry.length)
            opened = self._shared.reader.open_blob(reply.stored)
            if isinstance(opened, BlobFile):
                return FileSource(self._shared.pages, opened.fd), entry.length
        if isinstance(reply, GrowingBody):
            self._require_same(body, reply.entry, reply.length)
            while reply.state is FlightState.RUNNING:
                await reply.moved()
            if reply.content is not None:  # of a keeper that was restarted meanwhile
                return ContentSource(reply.content), reply.length
            if reply.state is FlightState.VERIFIED:
                return FileSource(self._shared.pages, reply.open()), reply.length
        raise BrokenBodyError("the body could not be had again")

    async def _change_over(self, given: Source, other: Source, sender: Sender) -> None:
        at = self._plan.start
        try:
            while at < sender.at:
                window = await _window(other, at, min(_COMPARED_BYTES, sender.at - at))
                await _require_equal(given, at, memoryview(bytes(window)))
                at += len(window)
        except BaseException:
            other.close()
            raise
        sender.replace(other)


async def _require_equal(given: Source, at: int, content: memoryview) -> None:
    """Raises BrokenBodyError when other bytes were given out from `at` on."""
    while content:
        window = await _window(given, at, len(content))
        if window != content[: len(window)]:
            raise BrokenBodyError("the body became another one")
        at += len(window)
        content = content[len(window) :]


async def _window(source: Source, at: int, size: int) -> memoryview:
    """Return some bytes at `at`, valid until the next read. Raises OSError."""
    while (window := source.read(at, size)) is None:
        warmed = source.warm(at)
        try:
            await asyncio.shield(warmed)
        finally:
            if not warmed.done():  # cancelled: the source must not be closed under a thread
                await asyncio.wait([warmed])
    if not window:
        raise BrokenBodyError("what was given out cannot be read any more")
    return window
