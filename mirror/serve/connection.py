"""One HTTP/1.1 connection: bytes to heads, answers to bytes, in order.

Rules:
1. A learned head (`memo`) with a hot entry is answered inside `data_received`: no task, no await,
   one write. Everything else is cut at its first empty line and goes through the strict parser.
2. One exchange at a time: a pipelined request waits in the inbox until the response before it is
   complete. Reading stops while more than a head's worth waits.
3. Nothing is answered while the client does not read (`is_paused`): the transport never holds more
   than what one write left over.
4. After a refusal whose content may still come, the sending side is shut and input is discarded
   for `LINGER_S`: closing at once would reset the connection and destroy the answer.
5. The account of a response that was handed over is over when the transport has let go of it: what
   a client that stops reading is owed is not counted as sent.
6. The first deadline that passes ends the connection: head, idle, write. The last one moves for a
   client that takes what it is owed at `[serve] min_rate` or faster (`pace`).

States: ready (idle, may use the memo), receiving a head, in an exchange, paused, closing.

Does not: route, decide, or read files.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final, Protocol

from mirror.errors import RequestError
from mirror.serve.admission import Admission
from mirror.serve.asking import Asking
from mirror.serve.h2_connection import RecallingPath
from mirror.serve.head import Head
from mirror.serve.hot_entry import HotEntry
from mirror.serve.refusals import TextAnswer
from mirror.serve.shared import Shared
from mirror.serve.stream import Exchange

PIPELINE_TURN: Final = 64  # answers per turn of the loop and connection
LINGER_S: Final = 2.0
_LATE: Final = TextAnswer(status=408, sentence="The request head did not arrive in time.")
DRAIN_GRACE_S: Final = 1.0  # for a request that may be on its way when the worker ends


class HotPath(RecallingPath, Protocol):
    """`request_path.RequestPath`, as learned heads need it."""

    def serve_hot(self, connection: Connection, hot: HotEntry, head: bytes) -> bool:
        """Answer a plain GET from a hot entry; False when it cannot."""

    def serve_last(self, asking: Asking, hot: HotEntry, head: bytes) -> bool:
        """As `serve_hot`, to a head that ends the connection; False when it cannot."""

    def serve_not_modified(self, connection: Connection, hot: HotEntry, head: bytes) -> bool:
        """Answer 304 to a GET that names the entry's tag; False when it cannot."""


class Connection(Admission):
    """The protocol object of one client; see the module's rules."""

    __slots__ = (
        "_exchange",
        "_is_head_begun",
        "_is_lingering",
        "_is_reading_paused",
        "_is_ready",
        "_is_scheduled",
        "_is_unanswered",
        "_path",
    )

    def __init__(self, shared: Shared, path: HotPath) -> None:
        super().__init__(shared, path)
        self._path = path
        self._exchange: Exchange | None = None
        self._is_head_begun = False
        self._is_lingering = False
        self._is_reading_paused = False
        self._is_ready = False
        self._is_unanswered = True
        self._is_scheduled = False

    def __repr__(self) -> str:
        words = ["ready"] * self._is_ready + ["busy"] * (self._exchange is not None)
        words += ["paused"] * self.is_paused + ["closing"] * self._is_closing
        return f"<Connection {self.peer} {' '.join(words) or 'receiving'}>"

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._may_enter():
            return
        if (negotiated := self._negotiated()) is not None:
            negotiated.start(b"")
        else:
            self._is_ready = not self._awaits_proxy_header

    def data_received(self, data: bytes) -> None:
        if self._is_ready and self._serve_known(data):
            self._is_unanswered = False
            return
        self._receive(data)

    def eof_received(self) -> bool:
        """Keep the sending side open while an answer is owed (a half-closed client reads it)."""
        self._has_eof = True
        if self.scheme == "https":
            self._end_of_tls(is_owing=self._exchange is not None or self._is_scheduled)
            self.deadline_at = self._close_deadline(self._shared.wheel)
            return False
        if self._is_lingering:
            return False
        return self._exchange is not None or self._is_scheduled or self.is_paused

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._inbox.clear()
        self._shared.wheel.discard(self)
        if self.client:
            self._shared.clients.discard(self.client)
        self.end_accounts()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()

    def pause_writing(self) -> None:
        self.is_paused = True
        self._is_ready = False
        if self.scheme == "https":
            self._enlarge()
        self.deadline_at = self._wait(self._shared.wheel)

    def resume_writing(self) -> None:
        self.is_paused = False
        self._go_on_counting()
        self._go_on(self._shared.wheel)
        if self._is_lingering:
            return
        if self._is_closing:
            self.deadline_at = self._close_deadline(self._shared.wheel)
            return
        self.deadline_at = math.inf
        if self._exchange is not None:
            self._exchange.resume()
        else:
            self._advance()

    # What the wheel and the crowd call.

    @property
    def is_idle(self) -> bool:
        """See `crowd.Idle`."""
        return self._is_ready and not self._is_unanswered

    def make_room(self) -> None:
        """See `crowd.Idle`."""
        self.close()

    def expire(self) -> None:
        """A deadline passed: the client is too slow, or idle for too long."""
        due_at = None if self._is_lingering else self._renew(self._shared.wheel)
        if due_at is not None:
            self.deadline_at = due_at
            return
        is_receiving = len(self._inbox) > 0 and self._exchange is None
        if is_receiving and not self.is_paused and not self._is_closing:
            self._shared.accounts.count("deadline_head")
            self._refuse_unread(_LATE)
            return
        if self.is_paused:
            self._shared.accounts.count("deadline_write")
        elif not self._is_closing and not self._shared.is_draining:
            self._shared.accounts.count("deadline_head" if self._is_unanswered else "deadline_idle")
        self.abort()

    # What the request path calls.

    def occupy(self, exchange: Exchange) -> None:
        """Begin an exchange that ends with `finish` or `abort`; no deadline while it waits."""
        self._exchange = exchange
        self._is_ready = False
        if not self.is_paused:
            self.deadline_at = math.inf

    def refuse(self, head: Head, content: bytes) -> None:
        """See `stream.Stream`."""
        self._keep_alive = False
        self.answer(head, content)
        self._end_account()
        self.close_lingering()

    def finish(self) -> None:
        """The response is complete: take the next request, or close."""
        self._end_account()
        was_busy = self._exchange is not None
        self._exchange = None
        if self._is_closing:
            return
        if not self._keep_alive or self._shared.is_draining:
            self.close()
        elif was_busy:
            self._schedule()

    def close(self) -> None:
        """Close after what was sent has left."""
        if self._is_closing:
            return
        self._stop()
        if not self.is_paused:
            self.deadline_at = self._close_deadline(self._shared.wheel)
        self._transport.close()

    def close_lingering(self) -> None:
        """Shut the sending side, and discard what still comes for a while (rule 4)."""
        if self._is_closing:
            return
        if self._has_eof:
            self.close()
            return
        self._stop()
        self._is_lingering = True
        self._inbox.clear()
        self.deadline_at = self._shared.wheel.monotonic_s + LINGER_S
        if self._transport.can_write_eof():  # not under TLS: the client closes, or `expire` does
            self._transport.write_eof()
        self._pause_reading(False)

    def drain(self) -> None:
        """The worker ends: an idle connection closes, a busy one after its response.

        One that was never answered, or whose head has begun, gets `DRAIN_GRACE_S`: its request may
        wait in the socket, and closing on it would be a reset for a client that did nothing wrong.
        """
        is_owing = self._exchange is not None or self._is_scheduled or self.is_paused
        if is_owing or self._is_closing:
            return
        if self._is_unanswered or len(self._inbox):
            grace_at = self._shared.wheel.monotonic_s + DRAIN_GRACE_S
            self.deadline_at = min(self.deadline_at, grace_at)
        else:
            self.close()

    def end_accounts(self) -> None:
        """Count what is under way as cut: nothing of it leaves any more."""
        account, self.account = self.account, None
        if account is not None:
            account.end(is_complete=False)

    def _end_account(self) -> None:
        """What was to be sent is handed over, unless the connection was gone before (rule 5)."""
        if self._is_closing:
            self.end_accounts()
        elif self.account is not None and not self.is_paused:
            self.account.end(is_complete=True)
            self.account = None

    def _go_on_counting(self) -> None:
        """The transport has let go of everything."""
        account = self.account
        if account is None:
            return
        if self._exchange is not None:
            account.count_content(0)
        else:
            account.end(is_complete=True)
            self.account = None

    def _stop(self) -> None:
        super()._stop()
        self._is_ready = False

    def _is_ending(self) -> bool:
        return self._shared.is_draining

    # From bytes to heads.

    def _receive(self, data: bytes) -> None:
        if self._is_closing:
            return
        # Until all of this is answered nothing that comes later may take the short way past it.
        self._is_ready = False
        self._inbox.add(data)
        if self._exchange is None and not self.is_paused:
            self._advance()
        # Not of a transport that is HTTP/2's by now.
        if len(self._inbox) > self._shared.max_head_bytes and not self._is_closing:
            self._pause_reading(True)

    def _schedule(self) -> None:
        """Advance in a later turn: keeps the stack flat and the loop fair."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._advance_scheduled)

    def _advance_scheduled(self) -> None:
        self._is_scheduled = False
        self._advance()

    def _advance(self) -> None:
        """Answer what has been received, until something has to be waited for."""
        if self._awaits_proxy_header and not self._read_proxy_header():
            return
        if self._is_unanswered and self._meets_preface(self._inbox.peek()):
            if not self._is_closing:
                self._settle()
            return
        answered = 0
        while self._exchange is None and not self.is_paused and not self._is_closing:
            if answered == PIPELINE_TURN:
                self._schedule()
                return
            try:
                head = self._inbox.next_head(self._shared.max_head_bytes)
            except RequestError as refusal:
                self._path.refuse(self, refusal, self._inbox.peek())
                return
            if head is None:
                break
            answered += 1
            self._is_unanswered = False
            self._answer(head)
        if self._is_closing or self._exchange is not None or self.is_paused:
            return
        self._settle()

    def _settle(self) -> None:
        """Nothing is owed: wait for the (rest of the) next head."""
        is_draining = self._shared.is_draining and not len(self._inbox)
        if self._has_eof or is_draining:
            self.close()
            return
        wheel = self._shared.wheel
        if not len(self._inbox):
            self._is_ready = True
            self.deadline_at = wheel.idle_deadline_at
        elif not self._is_head_begun:
            # Its deadline is not moved by the bytes that follow (slowloris).
            self._is_head_begun = True
            self.deadline_at = wheel.head_deadline_at
        self._pause_reading(False)

    def _pause_reading(self, wanted: bool) -> None:
        if wanted is self._is_reading_paused:
            return
        self._is_reading_paused = wanted
        if wanted:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _answer(self, head: bytes) -> None:
        self._is_head_begun = False
        if self._serve_known(head):
            return
        try:
            request = self._shared.parse(head)
        except RequestError as refusal:
            self._path.refuse(self, refusal, head)
            return
        if request.h2_settings is not None:
            offered = self._offered(request, self._inbox.peek())
            if offered is None:
                return
            request = offered
        self._note(request)
        self._path.begin(self, request, head)

    def _serve_known(self, head: bytes) -> bool:
        """Answer a learned head from a hot entry; False when it takes more than that."""
        shared = self._shared
        memo = shared.memo
        cut = head.find(b"\r\n")
        tail = head[cut:]
        lines = memo.tails.get(tail)
        if lines is None:
            return self._serve_known_otherwise(head, tail)
        key = lines.get(head[:cut])
        hot = None if key is None else shared.hot.get(key)
        return hot is not None and self._path.serve_hot(self, hot, head)

    def _serve_known_otherwise(self, head: bytes, tail: bytes) -> bool:
        """As `_serve_known`, of a head that names a tag or ends the connection."""
        memo = self._shared.memo
        line = head[: len(head) - len(tail)]
        closing = memo.closing.get(tail)
        if closing is not None:
            hot = self._shared.hot.get(closing.get(line, ""))
            is_served = hot is not None and self._path.serve_last(self, hot, head)
            if is_served:
                self.close()
            return is_served
        known = memo.split.get(tail) or memo.recall(tail)
        if known is None:
            return False
        lines, digits = known
        hot = self._shared.hot.get(lines.get(line, ""))
        if hot is None or digits != hot.digits:
            return False
        return self._path.serve_not_modified(self, hot, head)
