"""The byte budget as arithmetic: what is stored, what is promised, what waits to be resumed.

Rules:
1. `used_bytes` = blobs + reservations + kept partials; a reservation exists before its first byte
   is written, so the sum on disk never passes the budget.
2. Releasing is idempotent.

Units: bytes.
Does not: evict; the quarantine has its own budget.
Runs in: keeper. Callers hold the store's lock around `Budget`; a `Reservation` takes it itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Budget:
    """Sums of one store."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.blob_bytes = 0
        self.reserved_bytes = 0
        self._kept: dict[str, int] = {}
        self.kept_bytes = 0

    @property
    def used_bytes(self) -> int:
        return self.blob_bytes + self.reserved_bytes + self.kept_bytes

    def shortfall(self, nbytes: int) -> int:
        """Return how many bytes must go before `nbytes` more fit; 0 when they fit."""
        return max(0, self.used_bytes + nbytes - self.budget_bytes)

    def keep(self, partial: str, nbytes: int) -> None:
        """Count what an idle partial holds on disk."""
        self.drop_kept(partial)
        self._kept[partial] = nbytes
        self.kept_bytes += nbytes

    def drop_kept(self, partial: str) -> None:
        self.kept_bytes -= self._kept.pop(partial, 0)

    def kept_partials(self) -> list[str]:
        """Return the idle partials, the one kept longest first."""
        return list(self._kept)

    def __repr__(self) -> str:
        return (
            f"<Budget {self.used_bytes} of {self.budget_bytes}: {self.blob_bytes} in blobs,"
            f" {self.reserved_bytes} reserved, {self.kept_bytes} in partials>"
        )


class Reservation:
    """Bytes promised to one fill. A context manager; releasing twice is harmless."""

    def __init__(
        self,
        budget: Budget,
        lock: threading.RLock,
        nbytes: int,
        make_room: Callable[[int], bool],
    ) -> None:
        self._budget = budget
        self._lock = lock
        self._make_room = make_room
        self.nbytes = nbytes
        self._is_open = True
        budget.reserved_bytes += nbytes

    def extend(self, more_bytes: int) -> bool:
        """Promise `more_bytes` to the same fill; False when they cannot be had."""
        with self._lock:
            if not self._is_open or not self._make_room(more_bytes):
                return False
            self.nbytes += more_bytes
            self._budget.reserved_bytes += more_bytes
            return True

    def release(self) -> None:
        with self._lock:
            if self._is_open:
                self._is_open = False
                self._budget.reserved_bytes -= self.nbytes

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Reservation {self.nbytes} bytes{'' if self._is_open else ', released'}>"
