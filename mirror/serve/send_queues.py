"""How much of a body the kernel may hold unsent for a connection: little, and more for a few.

Rules:
1. Every connection begins with the little that listening sockets hand down (`shared.tune`): 128 KB,
   so that thousands of slow readers do not fill the memory that TCP has.
2. A connection whose body filled its socket gets `LARGE_BYTES`, while there are fewer than `MOST`:
   each turn of the loop then hands over more at once (measured, 100 MB by `sendfile` on a busy
   machine: 133 us of CPU per MB instead of 196; nginx, which limits nothing: 100). Under TLS and
   HTTP/2 whatever filled the socket counts; HTTP/2 gets `SHARED_BYTES`, because small answers and
   control frames wait behind what is in the queue (0.2 s at 20 Mbit/s).
3. It keeps them until it ends, or until everything was acknowledged and another one wants them: a
   client that fills its queue and stops reading gets nobody else's place, and gives none.

Units: bytes, seconds of the monotonic clock.
Runs in: worker.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Final, Protocol

LITTLE_BYTES: Final = 131_072
LARGE_BYTES: Final = 2 << 20
SHARED_BYTES: Final = 512 << 10
MOST: Final = 32  # with what is under way to the client about 3 MB each: 100 MB per worker
_LOOK_S: Final = 0.25  # how often all are looked through for one that is not used any more

_INT: Final = struct.Struct("=i")


class Sending(Protocol):
    """A connection's socket, as a transport shows it."""

    def fileno(self) -> int: ...

    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


class SendQueues:
    """Which connections of a worker may have large queues."""

    __slots__ = ("_large", "_looked_s")

    def __init__(self) -> None:
        self._large: dict[Sending, None] = {}  # by identity: numbers of descriptors are used again
        self._looked_s = 0.0

    def __repr__(self) -> str:
        return f"<SendQueues {len(self._large)} large>"

    def __contains__(self, sending: object) -> bool:
        return sending in self._large

    def enlarge(self, sending: Sending, now_s: float, limit_bytes: int = LARGE_BYTES) -> None:
        """Let the kernel hold more for a connection, if there is a place."""
        if len(self._large) >= MOST:
            if now_s - self._looked_s < _LOOK_S:
                return
            self._looked_s = now_s
            self._take_back()
            if len(self._large) >= MOST:
                return
        if _limit(sending, limit_bytes):
            self._large[sending] = None

    def forget(self, sending: Sending | None) -> None:
        """The connection ends."""
        if sending is not None:
            self._large.pop(sending, None)

    def clear(self) -> None:
        self._large.clear()

    def _take_back(self) -> None:
        """Make places of those whose clients have everything that they were sent."""
        for sending in list(self._large):
            if not unacknowledged_bytes(sending.fileno()):
                del self._large[sending]
                _limit(sending, LITTLE_BYTES)


def unacknowledged_bytes(fd: int) -> int:
    """Return what the kernel holds for a connection; 0 where nobody knows."""
    try:
        held = fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(_INT.size))
    except (OSError, ValueError):  # the latter: it is closed already
        return 0
    held_bytes: int = _INT.unpack(held)[0]
    return held_bytes


def _limit(sending: Sending, limit_bytes: int) -> bool:
    try:
        sending.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limit_bytes)
    except (OSError, ValueError):
        return False  # no TCP: a unix socket has no such limit; or closed already
    return True
