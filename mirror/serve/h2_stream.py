"""One stream of an HTTP/2 connection: one request, one response (RFC 9113 section 8.1).

Rules:
1. Content leaves in turns of `TURN_BYTES` at most, never more than both windows admit. Of a large
   response nothing is kept here: the sender reads the next part when the stream is let on.
2. What was answered whole (64 KiB at most, and mostly an object that others share) waits here as
   one reference until the windows admit it.
3. END_STREAM says that the response is complete, so it is set on the frame that completes it and
   by nothing else: a cut response ends with RST_STREAM, code INTERNAL_ERROR.
4. A response that is complete before the request is, is followed by RST_STREAM with NO_ERROR: the
   rest of the request is not wanted (RFC 9113 section 8.1).
5. A stream whose content waits for its client alone is held; `h2_connection` cuts what is held for
   too long.
6. The account is over when the stream is: complete if END_STREAM was set.

Units: bytes.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from mirror.http.h2_blocks import HeadEncoder
from mirror.http.h2_errors import Code
from mirror.http.h2_session import Session
from mirror.serve.account import Account
from mirror.serve.head import Head
from mirror.serve.stream import Exchange

# Two writes (`h2_outlet`). A small response waits for a turn of each stream before it: with 100
# large ones 13 MB.
TURN_BYTES: Final = 131_072
FLUSH_BYTES: Final = 65_536


class Carrier(Protocol):
    """`h2_connection.H2Connection`, as its streams see it."""

    heads: HeadEncoder
    session: Session
    turn_bytes: int
    is_paused: bool
    peer: str
    socket_peer: str
    local_address: tuple[str, int]
    scheme: str
    group: int

    def put(self, frames: bytes | bytearray | memoryview) -> None:
        """Send frames."""

    def queue(self, stream: H2Stream) -> None:
        """Give the stream a turn."""

    def hold(self, stream: H2Stream) -> None:
        """Note that the stream's content waits for its client."""

    def let_on(self, stream: H2Stream) -> None:
        """Note that its client admits content again."""

    def forget(self, stream: H2Stream) -> None:
        """The stream is over."""


class H2Stream:
    """A `stream.Stream`; what the request path answers through."""

    __slots__ = (
        "_carrier",
        "_credit_bytes",
        "_exchange",
        "_has_ended",
        "_is_finished",
        "_is_over",
        "_left_bytes",
        "_session",
        "_waiting",
        "account",
        "id",
        "is_request_whole",
    )

    is_http2 = True
    unsent_bytes = 0  # frames of all streams wait together: what was put counts as having left

    def __init__(self, carrier: Carrier, stream_id: int, *, is_request_whole: bool) -> None:
        self._carrier = carrier
        self._session = carrier.session
        self._credit_bytes = 0
        self._exchange: Exchange | None = None
        self._has_ended = False
        self._is_finished = False
        self._is_over = False
        self._left_bytes = 0  # of the content; -1: not known yet
        self._waiting: memoryview | None = None
        self.account: Account | None = None
        self.id = stream_id
        self.is_request_whole = is_request_whole

    def __repr__(self) -> str:
        state = "over" if self._is_over else "sending" if self._left_bytes else "answering"
        return f"<H2Stream {self.id} {state}>"

    # What the request path calls; see `stream.Stream`.

    @property
    def peer(self) -> str:
        return self._carrier.peer

    @property
    def socket_peer(self) -> str:
        return self._carrier.socket_peer

    @property
    def local_address(self) -> tuple[str, int]:
        return self._carrier.local_address

    @property
    def scheme(self) -> str:
        return self._carrier.scheme

    @property
    def group(self) -> int:
        return self._carrier.group

    @property
    def is_paused(self) -> bool:
        return not self._is_over and (self._carrier.is_paused or self.room_bytes <= 0)

    @property
    def room_bytes(self) -> int:
        if self._is_over:
            return 0
        # No more than a write: the next one may find the socket full.
        return min(self._credit_bytes, self._session.allowance(self.id), FLUSH_BYTES)

    def answer(self, head: Head, content: bytes = b"") -> None:
        """See `stream.Stream`."""
        self._put_head(head, len(content))
        if content and not self._is_over:
            self._waiting = memoryview(content)

    def begin(self, head: Head, content_bytes: int) -> None:
        """See `stream.Stream`."""
        self._put_head(head, content_bytes)

    def begin_chunk(self, chunk_bytes: int) -> None:
        """See `stream.Stream`; HTTP/2 has no chunks."""

    def write_some(self, view: memoryview) -> int:
        """See `stream.Stream`."""
        if self._is_over:
            raise ConnectionResetError
        taken = min(len(view), self.room_bytes)
        if taken <= 0:
            return 0
        ends = taken == self._left_bytes
        for piece in self._session.data(self.id, view[:taken], ends=ends):
            self._carrier.put(piece)
        self._credit_bytes -= taken
        if self._left_bytes > 0:
            self._left_bytes -= taken
        self._has_ended = ends
        if not ends and self.room_bytes <= 0:
            self._carrier.queue(self)
        return taken

    def end(self) -> None:
        """See `stream.Stream`."""
        if self._is_over:
            return
        for piece in self._session.data(self.id, b"", ends=True):
            self._carrier.put(piece)
        self._left_bytes = 0
        self._has_ended = True

    def refuse(self, head: Head, content: bytes) -> None:
        """See `stream.Stream`."""
        self.answer(head, content)
        self.finish()

    def occupy(self, exchange: Exchange) -> None:
        """See `stream.Stream`."""
        self._exchange = exchange

    def finish(self) -> None:
        """See `stream.Stream`."""
        self._exchange = None
        self._is_finished = True
        if self._waiting is None and not self._is_over:
            self._leave()

    def abort(self) -> None:
        """See `stream.Stream`."""
        if self._is_over:
            return
        self._reset(Code.INTERNAL_ERROR)
        exchange = self.drop()
        if exchange is not None:
            # Later: it may be the exchange itself that calls.
            asyncio.get_running_loop().call_soon(exchange.cancel)

    # What the connection calls.

    @property
    def is_held(self) -> bool:
        """Whether there may be content to send, and the windows admit none."""
        has_begun = self._left_bytes != 0 and not self._is_over
        return has_begun and self._session.allowance(self.id) <= 0

    def take_turn(self) -> int:
        """Send up to `turn_bytes` of what there is; return how many were sent."""
        if self._is_over:
            return 0
        if self.is_held:
            self._carrier.hold(self)
            return 0
        # Here, not where content leaves: what waits for its fill or for its client's rate does not
        # wait for its client.
        self._carrier.let_on(self)
        credit_bytes = self._credit_bytes = self._carrier.turn_bytes
        if self._waiting is not None:
            self._send_waiting(self._waiting)
        elif self._exchange is not None:
            self._exchange.resume()
        return credit_bytes - self._credit_bytes

    def cut(self, code: Code) -> None:
        """Reset the stream for a fault that is not the exchange's."""
        if self._is_over:
            return
        self._reset(code)
        self.cancel()

    def cancel(self) -> None:
        """The stream was reset, or its connection is gone: release everything."""
        exchange = self.drop()
        if exchange is not None:
            exchange.cancel()

    def drop(self) -> Exchange | None:
        """Let everything go; the exchange that was under way."""
        exchange, self._exchange = self._exchange, None
        self._waiting = None
        if not self._is_over:
            self._is_over = True
            self.end_account()
            self._carrier.forget(self)
        return exchange

    def end_account(self) -> None:
        """What has not left by now is not counted any more."""
        account, self.account = self.account, None
        if account is not None:
            account.end(is_complete=self._has_ended)

    # Both.

    def _put_head(self, head: Head, content_bytes: int) -> None:
        """`content_bytes` -1: not known yet."""
        if self._is_over:
            return
        block = self._carrier.heads.encode(head.status, head.lines)
        ends = content_bytes == 0
        frames = self._session.headers(self.id, block, ends=ends)
        self._left_bytes = content_bytes
        self._has_ended = ends
        self._carrier.put(frames)
        if self.account is not None:
            self.account.count_head(head.status, len(frames))
        if not ends:
            self._carrier.queue(self)

    def _send_waiting(self, waiting: memoryview) -> None:
        taken = self.write_some(waiting) if not self._carrier.is_paused else 0
        if taken and self.account is not None:
            self.account.count_content(taken)
        if taken < len(waiting):
            self._waiting = waiting[taken:]
            if not self._is_over:
                self._carrier.queue(self)
            return
        self._waiting = None
        if self._is_finished:
            self._leave()

    def _leave(self) -> None:
        if not self._has_ended:
            self._reset(Code.INTERNAL_ERROR)  # it is not complete: rule 3
        elif not self.is_request_whole:
            self._reset(Code.NO_ERROR)
        self.drop()

    def _reset(self, code: Code) -> None:
        self._session.reset(self.id, code)
        self._carrier.put(self._session.take_output())
