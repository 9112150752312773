"""What a worker tells the keeper without waiting: what it served, which crates want a check, which
stale responses news, which objects a gzip variant.

Rules:
1. All are the first things dropped: bounded, never across a loss, never onto a full connection.
2. What was served goes out once in `USED_EVERY_S`; the others `TELL_WITHIN_S` after the hit that
   wants them, so that the crates of one build share a message.

Units: seconds.
Does not: wait for the keeper, or know what an answer is.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from mirror.clock import Clock
from mirror.fill.frames import FrameType
from mirror.fill.messages import Check, Code, Uses
from mirror.fill.pending_keys import AGAIN_S, STALE_AGAIN_S, PendingKeys
from mirror.fill.recency import Recency

USED_EVERY_S = 1.0
TELL_WITHIN_S = 0.02


class Tell(Protocol):
    """Sends messages on stream 0."""

    def __call__(self, type: FrameType, messages: Sequence[Uses | Check | Code], /) -> None: ...


class Notices:
    """`start` in the running loop; `stop` before it ends."""

    def __init__(self, tell: Tell, clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._recency = Recency()
        self._checks = PendingKeys()
        self._coded = PendingKeys()
        self.used = self._recency.note
        self._loop: asyncio.AbstractEventLoop | None = None
        self._used_timer: asyncio.TimerHandle | None = None
        self._tell_timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return (
            f"<Notices {len(self._recency)} used, {len(self._checks)} to check,"
            f" {len(self._coded)} to code>"
        )

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._used_timer = self._loop.call_later(USED_EVERY_S, self._send_used)

    def stop(self) -> None:
        """Tell what was served until now, and nothing more."""
        if self._loop is not None:
            self._tell(FrameType.USED, self._recency.batches())
        self._loop = None
        for timer in (self._used_timer, self._tell_timer):
            if timer is not None:
                timer.cancel()
        self._used_timer = self._tell_timer = None

    def check(self, key: str) -> None:
        """Have the keeper confirm a crate's index entry in the background; costs about 0.3 us."""
        self._note(self._checks, key)

    def revalidate(self, key: str) -> None:
        """Have the keeper ask upstream in the background about what was served stale."""
        self._note(self._checks, key, STALE_AGAIN_S)

    def code(self, key: str) -> None:
        """Have the keeper make the gzip variant of an object in the background."""
        self._note(self._coded, key)

    def clear(self) -> None:
        """Forget everything: the keeper that was told is gone, or does not read."""
        self._recency.clear()
        self._checks.clear()
        self._coded.clear()

    def _note(self, pending: PendingKeys, key: str, again_s: float = AGAIN_S) -> None:
        if self._loop is None or not pending.note(key, self._clock.monotonic(), again_s):
            return
        if self._tell_timer is None:
            self._tell_timer = self._loop.call_later(TELL_WITHIN_S, self._send_pending)

    def _send_used(self) -> None:
        if self._loop is None:
            return
        self._used_timer = self._loop.call_later(USED_EVERY_S, self._send_used)
        self._tell(FrameType.USED, self._recency.batches())

    def _send_pending(self) -> None:
        self._tell_timer = None
        now_s = self._clock.monotonic()
        self._tell(FrameType.CHECK, [Check(keys=keys) for keys in self._checks.batches(now_s)])
        self._tell(FrameType.CODE, [Code(keys=keys) for keys in self._coded.batches(now_s)])
