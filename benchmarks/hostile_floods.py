"""Hostile clients in a hurry: ranges, resets, frames and garbage, on one connection after another.

Rules:
1. As in `hostile_held`: one function per attack, one call per burst; `seen` counts what went out
   ("requests", "frames", "pieces") and what came of it ("cut", "refused", "answered").
2. Bursts are of a fixed size and a rest lies between two of them: how hostile the crowd is, is
   stated in counts and does not follow the speed of the machine.

Runs in: benchmark, tests.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.hostile_held import Attack, get
from tests.http2_client import Codes
from tests.scenario import test_http2_abuse as abuse
from tests.scenario.upstream_objects import fresh_archive

RANGES = 31
RANGE_REQUESTS = 10
COLD_BYTES = 1_000_000
COLD_READERS = 6
RESETS = 20
FLOOD_FRAMES = 2_500  # more than any allowance of [serve.http2]
READ_S = 1.0  # what does not come in this time is not waited for
GARBAGE = 10
GARBAGE_BYTES = 2_000
_RST = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: close resets
_PIECE_BYTES = 1 << 16


def _read(sock: socket.socket, size_bytes: int) -> int:
    """Read so much, or less when no more comes; return how much came."""
    left = size_bytes
    sock.settimeout(READ_S)
    with contextlib.suppress(OSError):
        while left > 0 and (piece := sock.recv(min(left, _PIECE_BYTES))):
            left -= len(piece)
    return size_bytes - left


def _break_off(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    sock.close()


def _ranges(attack: Attack, path: str, ranges: str) -> None:
    """Ask many times on one connection, read the beginning of it all, break off."""
    with attack.open() as sock:
        sock.sendall(get(path, f"Range: bytes={ranges}") * RANGE_REQUESTS)
        attack.seen["requests"] += RANGE_REQUESTS
        attack.seen["answered"] += _read(sock, _PIECE_BYTES) > 0
        _break_off(sock)


def tiny_ranges(attack: Attack) -> None:
    """Many ranges of one byte each, far apart."""
    step = attack.target.large_bytes // (RANGES + 1)
    start = attack.dice.randrange(step)
    ranges = ",".join(f"{start + at * step}-{start + at * step}" for at in range(RANGES))
    _ranges(attack, attack.target.large, ranges)


def overlapping_ranges(attack: Attack) -> None:
    """Ranges that lie within each other: as bytes they would be many times the object."""
    ranges = ",".join(f"{at}-" for at in range(RANGES))
    _ranges(attack, attack.target.large, ranges)


def cold_ranges(attack: Attack) -> None:
    """Ranges of an object that nobody has asked for, from its end to its beginning."""
    path = fresh_archive(COLD_BYTES).path
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(attack.open()) for _ in range(COLD_READERS)]
        for at, sock in enumerate(reversed(socks)):
            start = at * COLD_BYTES // COLD_READERS
            sock.sendall(get(path, f"Range: bytes={start}-{start + 99},{start + 5_000}-"))
            attack.seen["requests"] += 1
        for sock in socks:
            attack.seen["answered"] += _read(sock, 1_000) > 0
            _break_off(sock)


def broken_downloads(attack: Attack) -> None:
    """Large bodies whose clients reset the connection after the first bytes."""
    for _ in range(RESETS):
        with attack.open() as sock:
            sock.sendall(get(attack.target.large))
            attack.seen["requests"] += 1
            attack.seen["answered"] += _read(sock, 1_000) > 0
            _break_off(sock)


def reset_streams(attack: Attack) -> None:
    """A flood of streams of stored content, each reset at once, on one HTTP/2 connection."""
    path = abuse.block(path=attack.target.hot)

    def frames() -> Iterator[bytes]:
        for stream_id in range(1, 2 * FLOOD_FRAMES, 2):
            ends = abuse.END_STREAM | abuse.END_HEADERS
            yield abuse.frame(abuse.HEADERS, path, flags=ends, stream_id=stream_id)
            yield abuse.frame(abuse.RST_STREAM, bytes((0, 0, 0, 8)), stream_id=stream_id)

    _flood(frames, attack)


def _flood(make: Callable[[], Iterator[bytes]], attack: Attack) -> None:
    sent, codes = abuse.send_until_cut(attack.target.port, make(), FLOOD_FRAMES)
    attack.seen["connections"] += 1
    attack.seen["frames"] += sent
    attack.seen["cut"] += Codes.ENHANCE_YOUR_CALM in codes


def garbage(attack: Attack) -> None:
    """Bytes that are no request, some behind what looks like the beginning of one."""
    beginnings = (b"", b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01")
    for port in (attack.target.port, attack.target.tls_port):
        for _ in range(GARBAGE // 2):
            with attack.open(port=port) as sock, contextlib.suppress(OSError):
                size_bytes = attack.dice.randrange(1, GARBAGE_BYTES)
                sock.sendall(attack.dice.choice(beginnings) + attack.dice.randbytes(size_bytes))
                attack.seen["pieces"] += 1
                sock.shutdown(socket.SHUT_WR)
                _read(sock, _PIECE_BYTES)
                attack.seen["cut"] += 1


FLOODS: dict[str, Callable[[Attack], None]] = {
    "tiny ranges": tiny_ranges,
    "overlapping ranges": overlapping_ranges,
    "cold ranges": cold_ranges,
    "broken downloads": broken_downloads,
    "reset streams": reset_streams,
    "rapid reset": partial(_flood, abuse.rapid_reset),
    "made-you-reset": partial(_flood, abuse.resets_by_the_server),
    "CONTINUATION flood": partial(_flood, abuse.continuations),
    "empty CONTINUATION flood": partial(_flood, abuse.empty_continuations),
    "HPACK bomb": partial(_flood, abuse.table_bomb),
    "empty DATA flood": partial(_flood, abuse.empty_data),
    "PING flood": partial(_flood, abuse.pings),
    "SETTINGS flood": partial(_flood, abuse.settings),
    "WINDOW_UPDATE flood": partial(_flood, abuse.window_updates),
    "garbage": garbage,
}
