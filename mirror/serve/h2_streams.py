"""The open streams of one HTTP/2 connection: their turns, and the deadlines of all that waits.

Rules:
1. Streams send in turns (`h2_turns`); nobody has one while the transport holds unsent bytes.
2. Reading stops while `INPUT_STOP_BYTES` wait to be sent: who sends frames and reads no answers
   cannot make the answers pile up.
3. Deadlines: the handshake; idle without a stream, with GOAWAY; a request that does not end. No
   byte admitted for `write_timeout` of a stream that has content to send: it is reset, and what it
   held of the keeper is let go. A client that takes less than `[serve] min_rate` while it is waited
   for, by window or by socket, is cut (`pace`). An exchange that waits for the keeper has none.
4. What is ending closes behind its last stream.
5. The sending side is shut and input discarded, for `LINGER_S` and as long as the client takes what
   the kernel still holds for it: it may be sending (windows, at least), and closing at once would
   reset the connection and destroy what it has not read.

Does not: read frames.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Final

from mirror.http.h2_errors import Code
from mirror.http.h2_session import Session
from mirror.serve.h2_outlet import H2Outlet
from mirror.serve.h2_stream import FLUSH_BYTES, TURN_BYTES, H2Stream
from mirror.serve.h2_turns import Turns
from mirror.serve.request import Request
from mirror.serve.shared import Shared

LINGER_S: Final = 2.0
LOOK_S: Final = 1.0
INPUT_STOP_BYTES: Final = 4 * FLUSH_BYTES
# Of one turn of the loop, over all streams: other connections come next.
ROUND_BYTES: Final = 1 << 20
TURNS_PER_ROUND: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Both ends of a connection; `peer` is the client as a PROXY header may say, `group` the client
    group that it is counted under."""

    peer: str
    group: int
    socket_peer: str
    local: tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unended:
    """A request that is not complete, and until when it may wait for that."""

    request: Request
    deadline_at: float


class H2Streams(H2Outlet):
    """Base of `h2_connection.H2Connection`."""

    __slots__ = (
        "_drain_at",
        "_greet_at",
        "_has_eof",
        "_held",
        "_idle_at",
        "_is_ending",
        "_is_greeted",
        "_is_reading_on",
        "_is_reading_paused",
        "_shared",
        "_streams",
        "_turns",
        "_unended",
        "client",
        "deadline_at",
        "group",
        "heads",
        "local_address",
        "peer",
        "session",
        "socket_peer",
        "tallies",
        "turn_bytes",
    )

    is_http2 = True  # what answers for a stream without an object says of it
    unsent_bytes = 0

    def __init__(self, shared: Shared, peers: Peers) -> None:
        super().__init__()
        self._shared = shared
        self._writability = shared.writability
        self._streams: dict[int, H2Stream] = {}
        self._turns = Turns()
        # Both with deadlines, of which the first in each is the nearest.
        self._unended: dict[H2Stream, Unended] = {}
        self._held: dict[H2Stream, float] = {}
        self._drain_at = self._idle_at = math.inf
        self._greet_at = self.deadline_at = shared.wheel.head_deadline_at
        self._has_eof = False
        self._is_ending = False
        self._is_greeted = False
        self._is_reading_on = False
        self._is_reading_paused = False
        self.client = ""  # what it is counted under
        self.group = peers.group
        self.peer = peers.peer
        self.socket_peer = peers.socket_peer
        self.local_address = peers.local
        self.heads = shared.h2_heads
        self.turn_bytes = TURN_BYTES
        self.tallies = shared.accounts.tallies(peers.group)
        now_s = shared.wheel.monotonic_s
        self.session = Session(shared.h2_limits, now_s=now_s, memo=shared.h2_memo)

    def __repr__(self) -> str:
        flags = [
            word
            for word, holds in (
                ("ending", self._is_ending),
                ("paused", self.is_paused),
                ("closing", self._is_closing),
            )
            if holds
        ]
        words = [f"{len(self._streams)} streams", f"{len(self._held)} held", *flags]
        return f"<H2Connection {self.peer} {', '.join(words)}>"

    # What the transport calls.

    def pause_writing(self) -> None:
        self.is_paused = True
        self._enlarge()
        self._stamp()

    def resume_writing(self) -> None:
        self.is_paused = False
        if not self._is_closing:
            # Each of them may have seen the pause, and then waits for a turn.
            self._queue_all()
            self.take_turn()

    # What the wheel and the crowd call.

    @property
    def is_idle(self) -> bool:
        """See `crowd.Idle`."""
        return self._is_greeted and not self._is_busy and not self._is_closing

    def make_room(self) -> None:
        """See `crowd.Idle`."""
        self._say_goodbye(Code.NO_ERROR)
        self.close_lingering()

    def expire(self) -> None:
        """A deadline passed (rule 3)."""
        now_s = self._shared.wheel.monotonic_s
        if self._is_closing:
            self._look_at_rest(now_s)
            return
        late = [stream for stream, at in self._held.items() if at <= now_s]
        late += [stream for stream, waits in self._unended.items() if waits.deadline_at <= now_s]
        count = self._shared.accounts.count
        for stream in late:
            count("deadline_head" if stream in self._unended else "deadline_write")
            stream.cut(Code.CANCEL)
        is_late = not self._is_greeted and self._greet_at <= now_s
        if is_late or (self._is_waited_for and self._is_too_slow(now_s)):
            count("deadline_head" if is_late else "deadline_write")
            self.abort()
        elif not self._is_busy and self._idle_at <= now_s:
            count("deadline_idle")
            self._say_goodbye(Code.NO_ERROR)
            self.close_lingering()
        else:
            if self._drain_at <= now_s:
                self._end()
            self.take_turn()

    # What the streams call.

    def queue(self, stream: H2Stream) -> None:
        """See `h2_stream.Carrier`."""
        self._turns.queue(stream)
        if not self._is_in_turn:
            self.schedule()

    def hold(self, stream: H2Stream) -> None:
        """See `h2_stream.Carrier`."""
        self._held.setdefault(stream, self._shared.wheel.write_deadline_at)

    def let_on(self, stream: H2Stream) -> None:
        """See `h2_stream.Carrier`."""
        self._held.pop(stream, None)

    def forget(self, stream: H2Stream) -> None:
        """See `h2_stream.Carrier`."""
        self._streams.pop(stream.id, None)
        self._unended.pop(stream, None)
        self._held.pop(stream, None)
        if not self._streams:
            self._idle_at = self._shared.wheel.idle_deadline_at
            if not self._is_in_turn:
                self.schedule()

    # Turns.

    @property
    def _is_busy(self) -> bool:
        """Whether an answer is owed, of a stream or to what was recalled."""
        return bool(self._streams or self.session.recalled)

    @property
    def is_waiting(self) -> bool:
        """Whether something waits for the client, so that what comes later has to queue up."""
        return self.is_paused or self._is_closing or bool(self._held)

    def take_turn(self) -> None:
        """See `H2Outlet`."""
        turns = self._turns
        self._is_in_turn = True
        try:
            taken_bytes = 0
            for _ in range(TURNS_PER_ROUND):
                taker = None if self._must_wait or taken_bytes >= ROUND_BYTES else turns.next()
                if taker is None:
                    break
                taken_bytes += taker.take_turn()
                if not self._is_greeted and self.turn_bytes < TURN_BYTES:
                    self.turn_bytes = 0  # until the client speaks
        finally:
            # A fault in one stream leaves the others their turns.
            self._is_in_turn = False
        self.flush()
        if self._is_closing:
            return
        if self._is_ending and not self._is_busy:
            self.close_lingering()
            return
        if len(turns) and not self._must_wait:
            self.schedule()
        self._arrange_reading()
        self._stamp()

    @property
    def _must_wait(self) -> bool:
        """Whether no stream has a turn at the moment."""
        return self.is_paused or self._is_closing or self.turn_bytes == 0

    def _queue_all(self) -> None:
        for stream in self._streams.values():
            self._turns.queue(stream)

    def _stamp(self) -> None:
        """The nearest of the deadlines that count at the moment."""
        if self._is_closing:
            return
        at = self._drain_at
        if not self._is_greeted:
            at = min(at, self._greet_at)
        elif not self._is_busy:
            at = min(at, self._idle_at)
        if self._held:
            at = min(at, next(iter(self._held.values())))
        if self._unended:
            at = min(at, next(iter(self._unended.values())).deadline_at)
        if self._is_waited_for:
            at = min(at, self._wait(self._shared.wheel))
        else:
            self._go_on(self._shared.wheel)
        self.deadline_at = at

    @property
    def _is_waited_for(self) -> bool:
        """Whether something waits for the client, by window or by socket."""
        return bool(self._held) or self.is_paused

    def _is_too_slow(self, now_s: float) -> bool:
        """Whether the client takes less than the minimum of what waits for it (`pace`)."""
        if self._wait(self._shared.wheel) > now_s or self._pace is None:
            return False
        return self._pace.renew(now_s, self._taken_bytes()) is None

    def _arrange_reading(self) -> None:
        """Read no more while the client is far behind, or has sent more than fits a turn."""
        is_behind = self.is_paused and self.waiting_bytes > INPUT_STOP_BYTES
        recalled_waits = bool(self.session.recalled) and not self.is_paused
        has_unread = self.session.has_unread or recalled_waits
        self._pause_reading(is_behind or has_unread)
        if has_unread and not is_behind and not self._is_reading_on:
            self._is_reading_on = True
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        """Take what the client has sent beyond the turn before."""
        raise NotImplementedError

    def _pause_reading(self, wanted: bool) -> None:
        if wanted is self._is_reading_paused:
            return
        self._is_reading_paused = wanted
        if wanted:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _open(self, stream_id: int, *, is_request_whole: bool) -> H2Stream:
        stream = H2Stream(self, stream_id, is_request_whole=is_request_whole)
        self._streams[stream_id] = stream
        return stream

    def end_accounts(self) -> None:
        """Count what is under way as cut: nothing of it leaves any more."""
        for stream in self._streams.values():
            stream.end_account()

    def _cancel_streams(self) -> None:
        self.session.recalled.clear()
        for stream in list(self._streams.values()):
            stream.cancel()

    # The end.

    def close(self) -> None:
        """Close after what was put has left."""
        if self._is_closing:
            return
        self._write_rest()
        self._stop()
        self.deadline_at = self._close_deadline(self._shared.wheel)
        self._transport.close()

    def close_lingering(self) -> None:
        """Shut the sending side, and discard what still comes for a while (rule 5)."""
        self._cancel_streams()
        if self._has_eof or not self._transport.can_write_eof():
            self.close()
        elif not self._is_closing:
            self._write_rest()
            self._pause_reading(False)
            self._stop()
            self.deadline_at = self._shared.wheel.monotonic_s + LINGER_S
            self._transport.write_eof()

    def _write_rest(self) -> None:
        """Write what was put; the transport keeps what the socket does not take."""
        rest = self._take_batch()
        if rest:
            self._transport.write(rest)

    def _look_at_rest(self, now_s: float) -> None:
        """Wait on for a client that takes the rest of what it is owed, else cut (rule 5)."""
        if self._unacknowledged_bytes() and not self._is_too_slow(now_s):
            self.deadline_at = now_s + LOOK_S
        else:
            self.abort()

    def _end(self) -> None:
        """Admit no further stream; close behind the last one."""
        self._drain_at = math.inf
        self._say_goodbye(Code.NO_ERROR)
        self._is_ending = True

    def _say_goodbye(self, code: Code) -> None:
        self.session.go_away(code=code)
        self.put(self.session.take_output())
