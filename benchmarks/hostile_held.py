"""Hostile clients that hold connections: they send little, read little, and do not go away.

Rules:
1. An attack is one function: it opens its connections, does its worst until they are all cut or
   `stop` is set, closes what is left and returns. It may be called again and again.
2. `seen` counts what it did ("connections", …) and what became of it ("cut": the mirror ended it).

Units: seconds, bytes. Runs in: benchmark, tests.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

DEADLINE_S = 20.0
TICK_S = 0.25
LONGEST_S = 30.0
SMALL_BUFFER_BYTES = 4096
SLOW_HEADS, SLOW_READS, SILENT, UNREAD, HALF_SHAKEN = 80, 40, 80, 20, 40
PIPELINED = 200
MOST_READ_BYTES = 64  # per tick: 256 bytes per second


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The mirror under attack; `large` and `hot` are stored there."""

    port: int
    tls_port: int
    large: str
    large_bytes: int
    hot: str


@dataclass(slots=True, kw_only=True)
class Attack:
    """One thread's attack: whom, until when, and what it saw."""

    target: Target
    stop: threading.Event
    dice: random.Random
    seen: Counter[str] = field(default_factory=Counter)

    def open(self, *, port: int = 0, receives_little: bool = False) -> socket.socket:
        """Return a connection. Raises OSError when the mirror takes none."""
        sock = socket.socket()
        try:
            if receives_little:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
            sock.settimeout(DEADLINE_S)
            sock.connect(("127.0.0.1", port or self.target.port))
        except OSError:
            sock.close()
            self.seen["refused"] += 1
            raise
        self.seen["connections"] += 1
        return sock


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: m", *lines, "", ""]).encode()


def _hold(
    attack: Attack,
    count: int,
    first: bytes,
    act: Callable[[socket.socket], bool],
    *,
    port: int = 0,
    receives_little: bool = False,
) -> None:
    """Open `count` connections, send `first` on each, then `act` on each until it says False."""
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            if attack.stop.is_set():
                return
            sock = attack.open(port=port, receives_little=receives_little)
            held.append(sock)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.send(first)
        for _ in range(int(LONGEST_S / TICK_S)):
            if not held or attack.stop.wait(TICK_S):
                return
            for sock in list(held):
                if not act(sock):
                    attack.seen["cut"] += 1
                    held.remove(sock)
                    sock.close()
    finally:
        for sock in held:
            sock.close()


def _is_open(sock: socket.socket, size_bytes: int) -> bool:
    """Read so much at most; False when the mirror has ended the connection."""
    try:
        return sock.recv(size_bytes) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _drip(sock: socket.socket) -> bool:
    try:
        sock.send(b"X-Slow: 1\r\n")
    except BlockingIOError:
        return True
    except OSError:
        return False
    return _is_open(sock, 4096)


def slow_heads(attack: Attack) -> None:
    """Heads of which a line comes now and then, and never the last one (slowloris)."""
    _hold(attack, SLOW_HEADS, b"GET / HTTP/1.1\r\nHost: m\r\n", _drip)


def slow_reads(attack: Attack) -> None:
    """A large body, read far below the least rate."""
    _hold(
        attack,
        SLOW_READS,
        get(attack.target.large),
        lambda sock: _is_open(sock, MOST_READ_BYTES),
        receives_little=True,
    )


def silent_connections(attack: Attack) -> None:
    """Connections on which nothing is ever sent."""
    _hold(attack, SILENT, b"", lambda sock: _is_open(sock, 4096))


def unread_pipelines(attack: Attack) -> None:
    """Many requests at once, and no answer is read: only whether the mirror has given up."""
    _hold(
        attack,
        UNREAD,
        get(attack.target.hot) * PIPELINED,
        _is_not_reset,
        receives_little=True,
    )


def _is_not_reset(sock: socket.socket) -> bool:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def half_shaken_hands(attack: Attack) -> None:
    """TLS handshakes that stop behind the client's first message, or in the middle of it."""
    hello = _client_hello()
    for first in (hello, hello[: len(hello) // 2]):
        _hold(
            attack,
            HALF_SHAKEN // 2,
            first,
            lambda sock: _is_open(sock, 1 << 16),
            port=attack.target.tls_port,
        )


def _client_hello() -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELD: dict[str, Callable[[Attack], None]] = {
    "slow heads": slow_heads,
    "slow reads": slow_reads,
    "silent connections": silent_connections,
    "unread pipelines": unread_pipelines,
    "half-shaken hands": half_shaken_hands,
}
