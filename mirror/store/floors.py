"""What the store leaves to others: free bytes and free inodes of its file system, as arithmetic.

Rules:
1. A floor is for whoever else writes there: the databases and their logs, the access log, other
   programs. What fills have been promised and have not written yet is not free any more.
2. A file system that does not count its inodes (btrfs, some network ones) has no inode floor.
3. Below a floor blobs give way; when that does not suffice, bodies pass through.

Units: bytes; inodes are counted.
Does not: ask the disk (`files`), or choose what goes (`eviction`).
Runs in: keeper. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from mirror.store.budget import DISK_MARGIN_BYTES

# A fill makes its temp and the record beside it, the blob's two directories, a head and its
# directory.
INODES_PER_FILL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """`free_bytes` is at least what one commit needs; `free_inodes` 0: any number will do."""

    free_bytes: int = DISK_MARGIN_BYTES
    free_inodes: int = 0

    def inode_shortfall(self, free_inodes: int) -> int:
        """Return how many inodes must come free before another fill may begin."""
        if not self.free_inodes:
            return 0
        return max(0, self.free_inodes + INODES_PER_FILL - free_inodes)


def floors_of(free_floor: int, free_inodes: int) -> Floors:
    """Return the floors that `[store]` asks for."""
    return Floors(free_bytes=max(DISK_MARGIN_BYTES, free_floor), free_inodes=free_inodes)
