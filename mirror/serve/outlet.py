"""The sending side of one connection.

Rules:
1. Bytes are written to the descriptor itself while the transport holds none (measured: 11.7 instead
   of 12.2 us per 2 KB hit); the transport gets what the socket does not take.
2. `is_paused` means exactly "the transport holds unsent bytes": its high-water mark is 0.
   Of a window at most `REMAINDER_BYTES` are left to it: 17 KB per slow reader, instead of 516.
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
6. What a client has taken is what its kernel acknowledged: ours holds up to 244 KB that it has not.

Does not: know requests, or files.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import termios
from typing import Final, cast

from mirror.serve.file_pages import WINDOW_BYTES
from mirror.serve.pace import Pace
from mirror.serve.wheel import Wheel

REMAINDER_BYTES: Final = 16_384
TLS_PIECE_BYTES: Final = 65_536
TLS_CLOSE_S: Final = 1.0

# Of struct tcp_info (linux/tcp.h, since 4.1): tcpi_bytes_acked.
_ACKED: Final = struct.Struct("=120xQ")
_INT: Final = struct.Struct("=i")


class Outlet(asyncio.Protocol):
    """Base of the protocol object: what `connection.Connection` sends by."""

    __slots__ = ("_cut_at", "_fd", "_is_closing", "_pace", "_transport", "is_paused", "scheme")

    _transport: asyncio.Transport
    deadline_at: float
    room_bytes: int = WINDOW_BYTES

    def __init__(self) -> None:
        self._cut_at = 0.0  # when a client is given up that takes the rest too slowly
        self._fd = -1
        self._is_closing = False
        self._pace: Pace | None = None  # most clients are never waited for
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

    def write_some(self, view: memoryview) -> int:
        """Take a part of `view`, which may change afterwards; how many bytes.

        Raises: ConnectionError when the connection is gone.
        """
        if self._is_closing:
            raise ConnectionResetError
        if self._fd < 0:
            # A copy, though it is encrypted at once: TLS may have to read before it can write.
            piece = bytes(view[:TLS_PIECE_BYTES])
            self._transport.write(piece)
            return len(piece)
        try:
            taken = os.write(self._fd, view)
        except BlockingIOError:
            taken = 0
        except ConnectionError:
            self.abort()
            raise
        if taken < len(view):
            rest = bytes(view[taken : taken + REMAINDER_BYTES])
            taken += len(rest)
            # It may be sent at once; then nobody calls back, and the outlet is not paused.
            self._transport.write(rest)
        return taken

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
        try:
            sending = self._transport.get_extra_info("socket").fileno()
            held = fcntl.ioctl(sending, termios.TIOCOUTQ, bytes(_INT.size))
        except OSError:
            return 0
        held_bytes: int = _INT.unpack(held)[0]
        return held_bytes

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
        self._fd = -1
