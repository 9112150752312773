"""The byte budget as arithmetic: what is stored, what is promised, what waits to be resumed.

Rules:
1. `used_bytes` = blobs + reservations + kept partials; a reservation exists before its first byte
   is written, so the sum on disk never passes the budget.
2. What counts is what the disk gives away (`footprint`), not the length: 5,120 index files of
   0.7 KB take 68 MB.
3. Promised bytes that have landed are no longer free on the disk: only the rest is still to come.
4. Releasing is idempotent.
5. While what is stored is not counted (`doubt`), it counts as the most that it can be: what the
   file system says is used, of which the store is a part, and what came since. Nothing that goes
   is given back until then. The sum on the disk so never passes the budget, counted or not.
6. Promises are also summed by class of content (`classes`), for the quotas.

Units: bytes.
Does not: evict; the quarantine has its own budget.
Runs in: keeper (any thread): a lock of its own, under which nothing waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

BLOCK_BYTES = 4096  # ext4, xfs and btrfs give a file no less
# Beside each blob: its directory (65,536 of them; most have one blob) and its record in `heads/`.
# For a crate in a large store this is too much by 8 KiB: the sum is an upper bound.
BLOB_OVERHEAD_BYTES = 2 * BLOCK_BYTES
# The least room that fills leave on the disk: the index's log, records and directories grow too.
DISK_MARGIN_BYTES = 1 << 20


def footprint(length: int) -> int:
    """Return what a blob, or a temp with its record, of `length` bytes takes of the disk."""
    return -(-length // BLOCK_BYTES) * BLOCK_BYTES + BLOB_OVERHEAD_BYTES


class Budget:
    """Sums of one store. Costs are footprints."""

    def __init__(self, budget_bytes: int, *, floor_bytes: int = DISK_MARGIN_BYTES) -> None:
        """`floor_bytes` stay free on the disk."""
        self.budget_bytes = budget_bytes
        self._floor_bytes = floor_bytes
        self.blob_bytes = 0
        self.reserved_bytes = 0
        self.landed_bytes = 0
        self.kept_bytes = 0
        self.reserved_of_class: dict[int, int] = {}
        self._kept: dict[str, int] = {}
        self._most_bytes: int | None = None  # while in doubt: the most that blobs may take
        self.lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """The sum between two changes: some of them move bytes from one part to another."""
        with self.lock:
            return self._sum_bytes

    @property
    def _sum_bytes(self) -> int:
        stored = self.blob_bytes if self._most_bytes is None else self._most_bytes
        return stored + self.reserved_bytes + self.kept_bytes

    @property
    def is_in_doubt(self) -> bool:
        return self._most_bytes is not None

    def doubt(self, most_bytes: int, counted_bytes: int) -> None:
        """Begin to count anew: rows of `counted_bytes` are known, the disk holds `most_bytes`."""
        with self.lock:
            self.blob_bytes = counted_bytes
            self._most_bytes = max(most_bytes, counted_bytes)

    def found(self, cost_bytes: int) -> None:
        """Count blobs that were here (or, below 0, were not), while in doubt."""
        with self.lock:
            self.blob_bytes += cost_bytes

    def is_counted(self) -> None:
        """End the doubt: what was counted is what is stored."""
        with self.lock:
            self._most_bytes = None

    def take(self, cost_bytes: int, free_bytes: int, content_class: int = 0) -> bool:
        """Promise `cost_bytes` if they fit the budget and the `free_bytes` of the disk."""
        with self.lock:
            if self.shortfall(cost_bytes, free_bytes):
                return False
            self.promise(cost_bytes, content_class)
            return True

    def promise(self, cost_bytes: int, content_class: int) -> None:
        """Count a promise (or, below 0, its end). The caller holds `lock`."""
        self.reserved_bytes += cost_bytes
        self.reserved_of_class[content_class] = (
            self.reserved_of_class.get(content_class, 0) + cost_bytes
        )

    def shortfall(self, cost_bytes: int, free_bytes: int) -> int:
        """Return how many bytes must go before `cost_bytes` more fit; 0 when they fit."""
        over = self._sum_bytes + cost_bytes - self.budget_bytes
        return max(0, over, self.disk_shortfall(cost_bytes, free_bytes))

    def disk_shortfall(self, cost_bytes: int, free_bytes: int) -> int:
        """Return how many bytes the disk lacks for `cost_bytes` more."""
        to_come = self.reserved_bytes - self.landed_bytes
        return max(0, cost_bytes + to_come + self._floor_bytes - free_bytes)

    def store(self, cost_bytes: int) -> None:
        """Count blobs that came (or, below 0, went)."""
        with self.lock:
            self.add_stored(cost_bytes)

    def add_stored(self, cost_bytes: int) -> None:
        """As `store`; the caller holds `lock`."""
        self.blob_bytes += cost_bytes
        if self._most_bytes is not None:
            self._most_bytes += max(0, cost_bytes)

    def keep(self, partial: str, length: int) -> None:
        """Count what an idle partial holds on disk."""
        with self.lock:
            self.add_kept(partial, length)

    def add_kept(self, partial: str, length: int) -> None:
        """As `keep`; the caller holds `lock`."""
        self.kept_bytes += footprint(length) - self._kept.pop(partial, 0)
        self._kept[partial] = footprint(length)

    def drop_kept(self, partial: str) -> bool:
        """Count an idle partial no longer; False: it was not counted."""
        with self.lock:
            cost_bytes = self._kept.pop(partial, 0)
            self.kept_bytes -= cost_bytes
        return cost_bytes > 0

    def move_kept(self, partial: str, content_class: int) -> int:
        """Count an idle partial as reserved; return what it counts. The caller holds `lock`."""
        cost_bytes = self._kept.pop(partial, 0)
        self.kept_bytes -= cost_bytes
        self.promise(cost_bytes, content_class)
        return cost_bytes

    def kept_of(self, partial: str) -> int:
        """Return what is counted for an idle partial; 0: it is not counted."""
        with self.lock:
            return self._kept.get(partial, 0)

    def kept_partials(self) -> list[str]:
        """Return the idle partials, the one kept longest first."""
        with self.lock:
            return list(self._kept)

    def __repr__(self) -> str:
        return (
            f"<Budget {self._sum_bytes} of {self.budget_bytes}: {self.blob_bytes} in blobs,"
            f" {self.reserved_bytes} reserved, {self.kept_bytes} in partials>"
        )


class Reservation:
    """Bytes promised to one fill, taken from `budget` before this value was made.

    A context manager; releasing twice is harmless.
    """

    def __init__(
        self,
        budget: Budget,
        nbytes: int,
        cost_bytes: int,
        take: Callable[[int], bool],
        content_class: int = 0,
    ) -> None:
        """`take` promises more of the same class."""
        self._budget = budget
        self._cost_bytes = cost_bytes
        self._landed_bytes = 0
        self._take = take
        self._class = content_class
        self._is_open = True
        self.nbytes = nbytes

    def extend(self, more_bytes: int) -> bool:
        """Promise `more_bytes` to the same fill; False when they cannot be had."""
        cost_bytes = footprint(self.nbytes + more_bytes) - footprint(self.nbytes)
        if not self._take(cost_bytes):
            return False
        with self._budget.lock:
            if not self._is_open:  # released, perhaps while room was made
                self._budget.promise(-cost_bytes, self._class)
                return False
            self._cost_bytes += cost_bytes
            self.nbytes += more_bytes
            return True

    def take_over(self, partial: str) -> bool:
        """Count by this reservation what counted as an idle partial until here: it pays a part of
        the promised bytes, or is made up for if it went meanwhile. False: there is no room."""
        with self._budget.lock:
            self._cost_bytes += self._budget.move_kept(partial, self._class)
            short = footprint(self.nbytes) - self._cost_bytes
            if short <= 0:
                self._cost_bytes += short
                self._budget.promise(short, self._class)
                return True
        if not self._take(short):
            return False
        with self._budget.lock:
            self._cost_bytes += short
            return True

    def has_landed(self, length: int) -> None:
        """Say that `length` of the promised bytes are on the disk."""
        with self._budget.lock:
            if self._is_open:
                self._budget.landed_bytes += length - self._landed_bytes
                self._landed_bytes = length

    def exchange(self, stored_bytes: int) -> None:
        """Give the promise back for `stored_bytes` of blobs, in one step for every reader."""
        with self._budget.lock:
            self._budget.add_stored(stored_bytes)
            self._close()

    def keep(self, partial: str, length: int) -> None:
        """Give the promise back for what stays on the disk to be resumed, in one step: between two
        somebody else would be promised the room that these bytes take."""
        with self._budget.lock:
            self._budget.add_kept(partial, length)
            self._close()

    def release(self) -> None:
        with self._budget.lock:
            self._close()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._budget.promise(-self._cost_bytes, self._class)
            self._budget.landed_bytes -= self._landed_bytes

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
