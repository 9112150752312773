"""One connection to the keeper: frames in and out, HELLO first, nothing else decided.

Rules:
1. Both sides send HELLO first; frames before the keeper's HELLO end the connection.
2. A peer that speaks another protocol is hung up on, with an event; reconnecting is the client's.
3. Nothing is queued here beyond the transport's buffer: requests are small and bounded.

Runs in: worker.
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol, cast

import msgspec

from mirror.events import EventLog
from mirror.fill.frames import Frame, FrameError, FrameReader, FrameType, encode_frame
from mirror.fill.messages import Hello, Message, decode, encode


class LinkSink(Protocol):
    """Whoever owns the link; called in the loop, never re-entered."""

    def link_opened(self, link: KeeperLink) -> None: ...

    def link_frame(self, link: KeeperLink, frame: Frame) -> None:
        """May raise FrameError or msgspec.MsgspecError: the link is cut then."""
        ...

    def link_closed(self, link: KeeperLink) -> None:
        """Called once, and only after `link_opened`."""
        ...


class KeeperLink(asyncio.Protocol):
    """Made per connection attempt; `closed` is done when the connection is."""

    def __init__(self, slot: int, sink: LinkSink, log: EventLog) -> None:
        self._slot = slot
        self._sink = sink
        self._log = log
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self.is_greeted = False
        self.is_congested = False
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def send(self, type: FrameType, stream: int, message: Message | None = None) -> None:
        """Send one frame; silently nothing when the connection is gone (the loss is reported)."""
        self.send_raw(type, stream, b"" if message is None else encode(message))

    def send_raw(self, type: FrameType, stream: int, payload: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_frame(type, stream, payload))

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.send(FrameType.HELLO, 0, Hello(slot=self._slot, pid=os.getpid()))

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                if self._transport is None or self._transport.is_closing():
                    return
                self._take(frame)
        except (FrameError, msgspec.MsgspecError) as exc:
            self._log.error("keeper-protocol-error", slot=self._slot, error=str(exc))
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        if self.is_greeted:
            self._sink.link_closed(self)

    def pause_writing(self) -> None:
        self.is_congested = True

    def resume_writing(self) -> None:
        self.is_congested = False

    def _take(self, frame: Frame) -> None:
        if self.is_greeted:
            self._sink.link_frame(self, frame)
            return
        if frame.type is not FrameType.HELLO or frame.stream != 0:
            raise FrameError(f"{frame.type.name} before HELLO")
        decode(Hello, frame.payload)
        self.is_greeted = True
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._sink.link_opened(self)

    def __repr__(self) -> str:
        state = "open" if self.is_greeted and self._transport else "not open"
        return f"<KeeperLink slot {self._slot} {state}>"
