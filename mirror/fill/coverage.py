"""What of a body is here, or on its way, and what is to be asked for next.

Rules:
1. No byte is asked for twice while it is here or promised by a running transfer, except where a
   further request would cost more than the bytes: runs under `SKIP_BYTES` are fetched over.
2. The order is that of the body, from the first missing byte on.
3. Who stops early gives its promise back; what is missing then is the next gap.

Units: byte offsets, half-open.
Runs in: keeper. Pure.
"""

from __future__ import annotations

from mirror.store.extents import Extents, Run

# At 100 Mbit/s 80 ms: about what another request to a distant CDN costs.
SKIP_BYTES = 1 << 20


class Coverage:
    """Of one body of `length` bytes, of which `[0, landed)` are here. Of an unknown length (-1)
    nothing can be said: it is taken for complete."""

    __slots__ = ("_promised", "length", "taken")

    def __init__(self, length: int, landed: int = 0) -> None:
        self.length = length
        self.taken = Extents(((0, landed),))
        self._promised: dict[object, Run] = {}

    @property
    def is_complete(self) -> bool:
        return self.length < 0 or self.taken.end_at(0) == self.length

    def take(self, start: int, end: int) -> None:
        """`[start, end)` came."""
        self.taken.add(start, end)

    def promise(self, owner: object, start: int, end: int) -> None:
        """`owner` brings `[start, end)`."""
        self._promised[owner] = (start, end)

    def withdraw(self, owner: object) -> None:
        """`owner` brings nothing more."""
        self._promised.pop(owner, None)

    def missing(self, start: int, end: int) -> Run | None:
        """Return the first run in `[start, end)` that is neither here nor promised."""
        covered = self._covered()
        first = covered.end_at(start)
        if first >= end:
            return None
        next_start = covered.next_start(first)
        return first, end if next_start < 0 else min(end, next_start)

    def gap(self) -> Run | None:
        """Return what the next request in order asks for: from the first missing byte up to a run
        that is worth another request (rule 1), or that ends the body."""
        first = self.missing(0, self.length)
        if first is None:
            return None
        covered = self._covered()
        last_start, last_end = covered.runs[-1] if covered.runs else (0, 0)
        tail = last_start if last_end == self.length else self.length
        return first[0], min(self.run_end(first[0]), tail)

    def run_end(self, at: int) -> int:
        """Return where a transfer in order, whose next byte is `at`, is to stop."""
        for start, end in self._covered().runs:
            if end - max(start, at) >= SKIP_BYTES:
                return max(start, at)
        return self.length

    def _covered(self) -> Extents:
        covered = Extents(self.taken.runs)
        for start, end in self._promised.values():
            covered.add(start, end)
        return covered

    def __repr__(self) -> str:
        return f"<Coverage {self.taken!r} of {self.length}, {len(self._promised)} promised>"
