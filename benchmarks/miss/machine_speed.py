"""How fast this machine writes to disk and hashes: what a fill can at best be.

Rules:
1. The disk's speed is that of one file of the size of the fill, written in pieces and made durable
   by one fsync, in the folder where the store lies.
2. The hash's is that of one core over content that is not in its cache.
3. Both are measured anew beside each fill: a shared machine is not the same a minute later.

Units: bytes per second, decimal. Runs in: benchmark.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpeed:
    disk_bytes_per_s: float
    sha256_bytes_per_s: float

    @property
    def least_bytes_per_s(self) -> float:
        return min(self.disk_bytes_per_s, self.sha256_bytes_per_s)


def machine_speed(folder: Path, content: bytes) -> MachineSpeed:
    """Write `content` below `folder` and hash it."""
    return MachineSpeed(
        disk_bytes_per_s=len(content) / _writing_s(folder / "speed", content),
        sha256_bytes_per_s=len(content) / _hashing_s(content),
    )


def _writing_s(path: Path, content: bytes) -> float:
    view = memoryview(content)
    os.sync()  # what others wrote is not this file's
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        began_at = time.monotonic()
        for at in range(0, len(view), _PIECE_BYTES):
            os.write(fd, view[at : at + _PIECE_BYTES])
        os.fsync(fd)
        return time.monotonic() - began_at
    finally:
        os.close(fd)
        path.unlink()


def _hashing_s(content: bytes) -> float:
    view = memoryview(content)
    digest = hashlib.sha256()
    began_at = time.monotonic()
    for at in range(0, len(view), _PIECE_BYTES):
        digest.update(view[at : at + _PIECE_BYTES])
    digest.digest()
    return time.monotonic() - began_at
