"""Asking the keeper once for all who ask the same at the same time.

Rules:
1. One ask per question is under way; who asks the same meanwhile follows it. A stored, inline or
   failed answer is everybody's, so an inline content is in memory once, however many wait for it
   (measured before: 100 readers of one 1.9 MB index file held 260 MB).
2. A body that comes in pieces has one reader: the followers then ask for their own, and the keeper
   joins them to its flight.
3. Only requests of one epoch share: an answer that was made before a withdrawal must not reach a
   request that began after it.
4. A leader whose client leaves takes nobody along: one of its followers asks again.

Runs in: worker.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mirror.fill.bodies import GrowingBody, InlineBody, PassThroughBody, Reply
from mirror.fill.messages import Ask, Failed, Purpose, StoredAnswer
from mirror.serve.ports import Keeper

_ABSENT: Final = 404  # an answer like any other

_Question = tuple[Purpose, str, bytes, float, int]


class _Told(enum.Enum):
    """What a follower hears instead of a reply."""

    ASK_ALONE = enum.auto()
    ASK_AGAIN = enum.auto()


_Waiting = asyncio.Future["Reply | _Told"]


class Asks:
    """The asks of one worker that are under way; `count` counts them by a name of `TOTALS`."""

    def __init__(self, keeper: Keeper, count: Callable[[str], None]) -> None:
        self._keeper = keeper
        self._count = count
        self._followers: dict[_Question, list[_Waiting]] = {}

    def __repr__(self) -> str:
        following = sum(map(len, self._followers.values()))
        return f"<Asks {len(self._followers)} under way, {following} followers>"

    async def ask(self, ask: Ask, epoch: int) -> Reply:
        """Return the keeper's answer; raises what its client raises."""
        question = (ask.purpose, ask.key, ask.claim, ask.since, epoch)
        while (followers := self._followers.get(question)) is not None:
            waiting: _Waiting = asyncio.get_running_loop().create_future()
            followers.append(waiting)
            reply = await waiting
            if reply is _Told.ASK_ALONE:
                return await self.ask_alone(ask)
            if not isinstance(reply, _Told):
                return reply
        return await self._lead(question, ask)

    async def ask_alone(self, ask: Ask) -> Reply:
        """Ask for one request only."""
        self._count("asks_total")
        reply = await self._keeper.ask(ask)
        if isinstance(reply, Failed) and reply.status != _ABSENT:
            self._count("asks_failed")
        return reply

    async def _lead(self, question: _Question, ask: Ask) -> Reply:
        followers: list[_Waiting] = []
        self._followers[question] = followers
        said: Reply | _Told = _Told.ASK_ALONE
        try:
            reply = await self.ask_alone(ask)
            said = _for_followers(reply)
        except asyncio.CancelledError:
            said = _Told.ASK_AGAIN
            raise
        finally:
            del self._followers[question]
            for waiting in followers:
                if not waiting.done():  # else: its client left
                    waiting.set_result(said)
        return reply


def _for_followers(reply: Reply) -> Reply | _Told:
    if isinstance(reply, GrowingBody | PassThroughBody):
        return _Told.ASK_ALONE
    if isinstance(reply, InlineBody):
        return replace(reply, outcome=_collapsed(reply.outcome))
    if isinstance(reply, StoredAnswer):
        return StoredAnswer(
            stored=reply.stored, outcome=_collapsed(reply.outcome), is_stale=reply.is_stale
        )
    return reply


def _collapsed(outcome: str) -> str:
    """`collapsed` is a parameter of forwarded requests only (RFC 9211 section 2.7)."""
    is_marked = "; collapsed" in outcome or not outcome.startswith("fwd=")
    return outcome if is_marked else f"{outcome}; collapsed"
