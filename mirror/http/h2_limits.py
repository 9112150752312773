"""Limits of an HTTP/2 connection, and the counters that find a client that abuses it.

Rules:
1. Counters are buckets: `burst` at once, then `per_s`. A breach ends the connection with
   ENHANCE_YOUR_CALM; nothing is slowed down, because a slow attacker costs as much in the end.
2. What a client may need often is charged only beyond what this server's own frames explain:
   a WINDOW_UPDATE answers content that was sent, and content sent gives the right to more of them.
3. Streams that come to nothing share one bucket, whoever ended them: the client's RST_STREAM
   (CVE-2023-44487), this server's after a fault of the client (CVE-2025-8671), a refused stream.

Units: bytes, seconds of a monotonic clock.
Does not: read a clock, or limit what takes long (deadlines are the connection's).
Runs in: worker. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mirror.http.h2_errors import Code, H2ConnectionError

# What one WINDOW_UPDATE may stand for: clients that read in small pieces grant every few KiB.
_BYTES_PER_UPDATE: Final = 1024
_UPDATES_PER_RESPONSE: Final = 2  # of the stream and of the connection, after short content
# Of a field block and its list together; requests of cargo and curl have about 750.
_FREE_BLOCK_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many at once, then so many per second."""

    burst: int
    per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection may hold and ask for.

    `initial_window_bytes`: of request content, which is not accepted: enough for what arrives
    before the answer. `max_block_bytes`: of one compressed field block; `max_list_bytes`: of its
    fields as section 6.5.2 counts them. `max_unsent_bytes`: of control frames that nobody took.
    Rates: `wasted_streams` (rule 3), `controls` (PING, SETTINGS, PRIORITY, unknown frames, frames
    of closed streams, request content), `grants` (WINDOW_UPDATE beyond rule 2), `empties` (frames
    that carry nothing), `block_bytes` (field blocks beyond 1 KiB each: decoding takes
    up to 0.14 us per byte).
    """

    max_streams: int = 128
    initial_window_bytes: int = 16_384
    max_list_bytes: int = 16_384
    max_field_lines: int = 100
    max_block_bytes: int = 32_768
    max_continuations: int = 16
    max_settings_lines: int = 32
    max_unsent_bytes: int = 65_536
    wasted_streams: Rate = field(default_factory=lambda: Rate(burst=1000, per_s=33))
    controls: Rate = field(default_factory=lambda: Rate(burst=1000, per_s=100))
    grants: Rate = field(default_factory=lambda: Rate(burst=2000, per_s=500))
    empties: Rate = field(default_factory=lambda: Rate(burst=100, per_s=10))
    block_bytes: Rate = field(default_factory=lambda: Rate(burst=2_097_152, per_s=1_048_576))


class Bucket:
    """Counts down from `burst`, refilled with time."""

    __slots__ = ("_at_s", "_left", "_rate", "_what")

    def __init__(self, rate: Rate, what: str, now_s: float) -> None:
        self._rate = rate
        self._what = what
        self._left = float(rate.burst)
        self._at_s = now_s

    def __repr__(self) -> str:
        return f"<Bucket {self._what} left={self._left:.0f}>"

    def take(self, count: int, now_s: float) -> None:
        """Count. Raises: H2ConnectionError when there are too many."""
        refilled = self._left + (now_s - self._at_s) * self._rate.per_s
        left = min(refilled, self._rate.burst) - count
        if left < 0:
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, f"Too many {self._what}.")
        self._left = left
        self._at_s = now_s

    def give_back(self, count: float) -> None:
        """Allow so many more, up to the burst."""
        self._left = min(self._left + count, float(self._rate.burst))


class Guard:
    """The buckets of one connection."""

    __slots__ = ("block_bytes", "controls", "empties", "grants", "now_s", "wasted_streams")

    def __init__(self, limits: Limits, now_s: float) -> None:
        self.now_s = now_s  # of the bytes that are being read
        self.wasted_streams = Bucket(limits.wasted_streams, "streams without use", now_s)
        self.controls = Bucket(limits.controls, "control frames", now_s)
        self.grants = Bucket(limits.grants, "small window updates", now_s)
        self.empties = Bucket(limits.empties, "empty frames", now_s)
        self.block_bytes = Bucket(limits.block_bytes, "bytes of field blocks", now_s)

    def wasted_stream(self) -> None:
        """A stream ended before its response. Raises: H2ConnectionError, like all below."""
        self.wasted_streams.take(1, self.now_s)

    def control(self) -> None:
        """A frame that asks for nothing."""
        self.controls.take(1, self.now_s)

    def empty(self) -> None:
        """A frame that carries nothing."""
        self.empties.take(1, self.now_s)

    def grant(self) -> None:
        """A WINDOW_UPDATE."""
        self.grants.take(1, self.now_s)

    def sent(self, content_bytes: int, *, ends: int) -> None:
        """Content was sent, which WINDOW_UPDATE frames will answer; `ends`: of so many responses.

        Not per frame: a client that grants single bytes makes frames of single bytes.
        """
        updates = _UPDATES_PER_RESPONSE * ends
        self.grants.give_back(content_bytes / _BYTES_PER_UPDATE + updates)

    def block(self, work_bytes: int) -> None:
        """A field block was decoded: its bytes and those of its list."""
        if work_bytes > _FREE_BLOCK_BYTES:
            self.block_bytes.take(work_bytes - _FREE_BLOCK_BYTES, self.now_s)
