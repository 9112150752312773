"""Credit of one stream: how much may still be sent, and how much may still be received.

Rules:
1. A sender starts with `INITIAL_CREDIT_BYTES`; CREDIT frames add to it (`frames`, rule 3).
2. A receiver that is sent more than it granted is facing a broken peer.

Units: bytes. Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import struct

from mirror.fill.frames import INITIAL_CREDIT_BYTES, FrameError

CREDIT_MAX_BYTES = 1 << 31  # a peer that grants more than this has lost count
_CREDIT = struct.Struct("!I")


class SendCredit:
    """What the peer takes; `take` waits for it."""

    __slots__ = ("_available", "_granted")

    def __init__(self) -> None:
        self._available = INITIAL_CREDIT_BYTES
        self._granted = asyncio.Event()

    def grant(self, payload: bytes) -> None:
        """Add what a CREDIT frame says. Raises FrameError for nonsense."""
        if len(payload) != _CREDIT.size:
            raise FrameError(f"a CREDIT of {len(payload)} bytes")
        self._available += int(_CREDIT.unpack(payload)[0])
        if self._available > CREDIT_MAX_BYTES:
            raise FrameError(f"credit of {self._available} bytes")
        self._granted.set()

    async def take(self, wanted: int) -> int:
        """Return how many of `wanted` bytes may be sent, at least one, and count them as sent."""
        while self._available <= 0:
            self._granted.clear()
            await self._granted.wait()
        taken = min(wanted, self._available)
        self._available -= taken
        return taken


class ReceiveCredit:
    """What this side takes: everything is consumed at once and granted again."""

    __slots__ = ("received",)

    def __init__(self) -> None:
        self.received = 0

    def take(self, payload: bytes) -> bytes:
        """Return the CREDIT payload that answers a DATA payload. Raises FrameError."""
        if len(payload) > INITIAL_CREDIT_BYTES:
            raise FrameError("more DATA than was granted")
        self.received += len(payload)
        return _CREDIT.pack(len(payload))
