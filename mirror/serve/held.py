"""Content that must be held in memory until it is verified, bounded for the whole worker.

Rules:
1. What is taken is given back by the same `Hold`, once, whatever ends the exchange.

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

from typing import Final

HELD_BYTES: Final = 8 << 20  # one client
# All clients of a worker: with `hot_memory` (128 MiB) and the process itself below 200 MB.
HELD_TOTAL_BYTES: Final = 32 << 20


class HeldBytes:
    """What a worker holds for all its clients."""

    __slots__ = ("_limit_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0

    def __repr__(self) -> str:
        return f"<HeldBytes {self.used_bytes}/{self._limit_bytes}>"

    def take(self, size_bytes: int) -> bool:
        """Reserve; False, and nothing reserved, when it would be too much."""
        if self.used_bytes + size_bytes > self._limit_bytes:
            return False
        self.used_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        self.used_bytes -= size_bytes


class Hold:
    """One client's content while it is collected and sent."""

    __slots__ = ("_total", "content")

    def __init__(self, total: HeldBytes) -> None:
        self._total = total
        self.content = bytearray()

    def add(self, piece: bytes) -> bool:
        """Keep `piece`; False when this client, or all of them, hold too much."""
        if len(self.content) + len(piece) > HELD_BYTES or not self._total.take(len(piece)):
            return False
        self.content += piece
        return True

    def release(self) -> None:
        """Let everything go; idempotent."""
        self._total.give_back(len(self.content))
        self.content = bytearray()
