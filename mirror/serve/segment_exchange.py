"""A response whose content is at hand, in a file or in memory: no task, driven by the socket.

Rules:
1. Content in memory that a slow reader keeps there is exchanged for the stored file of the same
   digest as soon as there is one: the memory of a worker is not the slow readers' to fill.

Runs in: worker.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from mirror.serve.sender import Sender
from mirror.serve.sources import Source
from mirror.serve.stream import Stream

# An inline object is durable a few milliseconds after it is answered; most readers need no more.
HELD_S: Final = 0.5


class SegmentExchange:
    """Sends one segment, then gives the stream back; a fault cuts it."""

    __slots__ = ("_sender", "_stream")

    def __init__(self, stream: Stream, sender: Sender) -> None:
        """Takes the sender over."""
        self._stream = stream
        self._sender = sender

    def start(self, end: int) -> None:
        self._stream.occupy(self)
        self._sender.send_until(end, self._done)

    def resume(self) -> None:
        self._sender.resume()

    def cancel(self) -> None:
        self._sender.close()

    def _done(self, failure: OSError | None) -> None:
        self._sender.close()
        if failure is None:
            self._stream.finish()
        else:
            self._stream.abort()


class StoredSource(Protocol):
    """Opens the stored file of the content that is being sent."""

    def __call__(self) -> Source | None:
        """Return it; None when it is not there, or is another content."""


class HeldExchange(SegmentExchange):
    """As its base, for content in memory that is perhaps stored by now."""

    __slots__ = ("_open_stored", "_timer")

    def __init__(
        self,
        stream: Stream,
        sender: Sender,
        *,
        open_stored: StoredSource,
    ) -> None:
        super().__init__(stream, sender)
        self._open_stored: StoredSource | None = open_stored
        self._timer: asyncio.TimerHandle | None = None

    def start(self, end: int) -> None:
        super().start(end)
        # It may have ended in there.
        if self._open_stored is not None:
            self._wait()

    def cancel(self) -> None:
        super().cancel()
        self._stop()

    def _done(self, failure: OSError | None) -> None:
        self._stop()
        super()._done(failure)

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HELD_S, self._let_go)

    def _let_go(self) -> None:
        source = None if self._open_stored is None else self._open_stored()
        if source is None:
            self._wait()
        else:
            self._stop()
            self._sender.replace(source)

    def _stop(self) -> None:
        self._open_stored = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
