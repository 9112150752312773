"""One ask on its way: sent, perhaps sent again after a keeper restart, answered once.

Rules:
1. `deliver` is called exactly once, unless the exchange is dropped first.
2. Inline content is collected here under credit and delivered whole, or as a failure.

Runs in: worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mirror.fill.bodies import InlineBody, PassThroughBody
from mirror.fill.messages import (
    Ask,
    Failed,
    GrowingAnswer,
    InlineAnswer,
    StoredAnswer,
)

Outcome = StoredAnswer | Failed | GrowingAnswer | InlineBody | PassThroughBody
Deliver = Callable[["Exchange", Outcome], None]


class Exchange:
    """`losses` counts connections that ended while this waited; `stream` 0: not sent."""

    __slots__ = ("_content", "_deliver", "_inline", "ask", "losses", "stream", "timer")

    def __init__(self, ask: Ask, deliver: Deliver, *, losses: int = 0) -> None:
        self.ask = ask
        self.losses = losses
        self.stream = 0
        self.timer: asyncio.TimerHandle | None = None
        self._deliver = deliver
        self._inline: InlineAnswer | None = None
        self._content = bytearray()

    def deliver(self, outcome: Outcome) -> None:
        self.stop_timer()
        self._deliver(self, outcome)

    def begin_inline(self, answer: InlineAnswer) -> None:
        self._inline = answer

    def take(self, data: bytes) -> bool:
        """Collect inline content; False when more came than was announced, or none was."""
        self._content += data
        return self._inline is not None and len(self._content) <= self._inline.entry.length

    def complete(self) -> InlineBody | Failed:
        """Return what the keeper's END makes of the content."""
        if self._inline is None or len(self._content) != self._inline.entry.length:
            return Failed(status=502, reason="the keeper sent another length than it announced")
        return InlineBody(
            entry=self._inline.entry, outcome=self._inline.outcome, content=bytes(self._content)
        )

    def lost(self) -> None:
        """The connection is gone: everything starts over."""
        self.losses += 1
        self.stream = 0
        self._inline = None
        self._content.clear()

    def start_timer(self, after_s: float, expire: Callable[[Exchange], None]) -> None:
        self.stop_timer()
        self.timer = asyncio.get_running_loop().call_later(after_s, expire, self)

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def __repr__(self) -> str:
        return f"<Exchange {self.ask.purpose.value} {self.ask.key} stream {self.stream}>"
