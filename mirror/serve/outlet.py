"""The sending side of one connection.

Rules:
1. Bytes are written to the descriptor itself while the transport holds none (measured: 11.7 instead
   of 12.2 us per 2 KB hit); the transport gets what the socket does not take.
2. `is_paused` means exactly "the transport holds unsent bytes" (its high-water mark is 0), or "a
   body waits for the socket" (`writability`): what the socket does not take of a body is left where
   it is, so a slow reader holds nothing here.
3. The transport closes the descriptor only after `connection_lost`, which forgets it here, so no
   write can meet a reused one. Nothing is written after `close` or `abort`.
4. Under TLS every byte goes through the transport, which encrypts it. Its limit for being paused
   is above 0: uvloop's TLS transport compares with "at least", so that 0 would pause it for ever
   with nothing left to send. Beneath it lies a TCP transport that nobody can ask, which takes up
   to 64 KiB and one write before it pauses TLS; so a slow reader holds up to three pieces of
   `TLS_PIECE_BYTES` (measured: 190 KB and 1.0 ms of CPU per MB; with pieces of 256 KiB 760 KB and
   1.2 ms, of 16 KiB 100 KB and 2.3 ms).
5. TLS has no half-closed connections here: after the client's close_notify uvloop sends nothing
   more. Closing waits for the client's close_notify, which idle clients never send; so it is cut
   after `TLS_CLOSE_S` once the client's kernel has acknowledged everything, and only then.
6. What a client has taken is what its kernel acknowledged: ours holds up to 244 KB that it has not,
   of a few 3 MB (`send_queues`).

Does not: know requests, or files.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Final, cast

from mirror.serve.pace import Pace
from mirror.serve.send_queues import LARGE_BYTES, Sending, unacknowledged_bytes
from mirror.serve.wheel import Wheel
from mirror.serve.writability import Writability

ROOM_BYTES: Final = 4 << 20  # of one write, in a socket that takes everything
TLS_PIECE_BYTES: Final = 65_536
TLS_CLOSE_S: Final = 1.0

# Of struct tcp_info (linux/tcp.h, since 4.1): tcpi_bytes_acked.
_ACKED: Final = struct.Struct("=120xQ")


class Outlet(asyncio.Protocol):
    """Base of the protocol object: what `connection.Connection` sends by."""

    __slots__ = (
        "_cut_at",
        "_fd",
        "_is_closing",
        "_pace",
        "_queue",
        "_transport",
        "_writability",
        "is_paused",
        "scheme",
    )

    _transport: asyncio.Transport
    deadline_at: float
    queue_bytes: int = LARGE_BYTES
    room_bytes: int = ROOM_BYTES

    def __init__(self) -> None:
        self._cut_at = 0.0  # when a client is given up that takes the rest too slowly
        self._fd = -1
        self._is_closing = False
        self._pace: Pace | None = None  # most clients are never waited for
        self._queue: Sending | None = None  # that was enlarged once
        self._writability: Writability | None = None  # made by who writes bodies here
        self.is_paused = False
        self.scheme = "http"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
            # The handshake has left session tickets, which leave only after this call: counted,
            # they would pause a connection that nobody has written to.
            tickets_bytes = self._transport.get_write_buffer_size()
            self._transport.set_write_buffer_limits(high=tickets_bytes + 1, low=0)
        else:
            self._transport.set_write_buffer_limits(high=0)
            self._fd = transport.get_extra_info("socket").fileno()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        if self._writability is not None:
            # Not before: the kernel holds what it took for as long as the client takes it.
            self._writability.queues.forget(self._queue)

    def send(self, data: bytes) -> bool:
        """Send all of `data` after everything before it; False when the connection is gone."""
        if self._is_closing:
            return False
        sent = 0
        if not self.is_paused and self._fd >= 0:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.abort()
                return False
        if sent != len(data):
            self._transport.write(memoryview(data)[sent:] if sent else data)
        return True

    def send_both(self, head: bytes, content: bytes) -> int:
        """Send `head`, and of `content`, which never changes, what the socket takes with it.

        Return how much of `content` was taken; -1: the connection is gone. Measured, 100 KB: one
        `writev` 15 us, joined before the write 17, two writes 18.
        """
        if self._is_closing:
            return -1
        if self._fd < 0:
            taken = max(0, min(len(content), TLS_PIECE_BYTES - len(head)))
            # Joined: what is written on its own is a record, and a packet, of its own.
            self._transport.write(head + content[:taken])
            return taken
        try:
            taken = os.writev(self._fd, (head, content))
        except BlockingIOError:
            taken = 0
        except OSError:
            self.abort()
            return -1
        if taken < len(head):
            self._transport.write(memoryview(head)[taken:])
            return 0
        if taken < len(head) + len(content):
            self._await_room()
        return taken - len(head)

    def write_some(self, view: memoryview) -> int:
        """Take a part of `view`, which may change afterwards; how many bytes.

        Raises: ConnectionError when the connection is gone.
        """
        if self._is_closing:
            raise ConnectionResetError
        if self._fd < 0:
            piece = view[:TLS_PIECE_BYTES]
            # Encrypted at once, unless TLS has to read before it can write; so what may change
            # meanwhile is copied.
            self._transport.write(piece if view.readonly else bytes(piece))
            return len(piece)
        try:
            taken = os.write(self._fd, view)
        except BlockingIOError:
            taken = 0
        except ConnectionError:
            self.abort()
            raise
        if taken < len(view):
            self._await_room()
        return taken

    @property
    def takes_files(self) -> bool:
        """Whether `send_file` may be called: not under TLS, nor once this is closing."""
        return self._fd >= 0

    def send_file(self, fd: int, offset: int, size_bytes: int) -> int:
        """As `write_some`, of a part of a file that is in the page cache.

        0, and not paused: the file ends at `offset`. Raises OSError.
        """
        try:
            taken = os.sendfile(self._fd, fd, offset, size_bytes)
        except BlockingIOError:
            self._await_room()
            return 0
        except ConnectionError:
            self.abort()
            raise
        if 0 < taken < size_bytes:
            self._await_room()
        return taken

    def _await_room(self) -> None:
        """The socket is full: be paused until it takes more, or cut where nobody would tell."""
        if self._writability is None:
            raise RuntimeError("a body on a connection that carries none")
        try:
            self._writability.wait(self._fd, self._has_room)
        except OSError:  # no descriptor for the first `epoll`, or no memory
            self.abort()
            return
        self._enlarge()
        self.is_paused = True
        self.pause_writing()

    def _enlarge(self) -> None:
        """Let the kernel hold more: the socket is full."""
        writability = self._writability
        if writability is None or self._queue in writability.queues:
            return
        self._queue = self._transport.get_extra_info("socket")
        if self._queue is not None:
            now_s = asyncio.get_running_loop().time()
            writability.queues.enlarge(self._queue, now_s, self.queue_bytes)

    def take_queue(self, former: Outlet) -> None:
        """The connection is no longer `former`'s."""
        self._queue, former._queue = former._queue, None

    def _has_room(self) -> None:
        # What was sent meanwhile besides the body may wait in the transport, which tells by itself.
        if self.is_paused and not self._is_closing and not self._transport.get_write_buffer_size():
            self.resume_writing()

    @property
    def is_idle(self) -> bool:
        """See `crowd.Idle`."""
        raise NotImplementedError

    def make_room(self) -> None:
        """See `crowd.Idle`."""
        raise NotImplementedError

    # Waiting for a client that is slower than we are: see `pace`.

    def _wait(self, wheel: Wheel) -> float:
        """Note that the client is waited for; return when `_renew` is due."""
        if self._pace is None:
            self._pace = wheel.pace(self._taken_bytes())
        return self._pace.wait(wheel.monotonic_s)

    def _go_on(self, wheel: Wheel) -> None:
        """Note that the client is not waited for any more."""
        if self._pace is not None:
            self._pace.go_on(wheel.monotonic_s)

    def _renew(self, wheel: Wheel) -> float | None:
        """Return until when a client may be waited for that is paused, or closing under TLS; None:
        no longer."""
        if self._is_closing and self.scheme == "https" and not self.is_paused:
            is_late = wheel.monotonic_s >= self._cut_at or not self._unacknowledged_bytes()
            return None if is_late else wheel.monotonic_s + TLS_CLOSE_S
        if self._pace is None or not self.is_paused:
            return None
        return self._pace.renew(wheel.monotonic_s, self._taken_bytes())

    def _close_deadline(self, wheel: Wheel) -> float:
        """Return when a connection that begins to close is looked at again."""
        if self.scheme == "http":
            return wheel.write_deadline_at
        self._cut_at = wheel.write_deadline_at
        return wheel.monotonic_s + TLS_CLOSE_S

    def _end_of_tls(self, *, is_owing: bool) -> None:
        """The client sent close_notify: nothing can be sent after it, and what is owed is cut."""
        if is_owing:
            self.abort()
        else:
            self._stop()

    def _unacknowledged_bytes(self) -> int:
        """What the kernel holds. While the transport holds anything it is never 0."""
        return unacknowledged_bytes(self._transport.get_extra_info("socket").fileno())

    def _taken_bytes(self) -> int:
        """Return how many bytes the client's side has acknowledged, under TLS its overhead too.

        0 where nobody knows (no TCP): then it never takes anything, however long it is waited for.
        """
        sending = self._transport.get_extra_info("socket")
        try:
            known = sending.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size)
            acked_bytes: int = _ACKED.unpack(known)[0]
        except (OSError, struct.error):
            return 0
        return acked_bytes

    def abort(self) -> None:
        """Cut the connection: a response under way never looks complete."""
        self._stop()
        self._transport.abort()

    def _stop(self) -> None:
        """Write nothing more."""
        self._is_closing = True
        if self._writability is not None:
            self._writability.forget(self._fd)
        self._fd = -1
