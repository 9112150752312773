"""A machine clock that a test moves under running processes.

Rules:
1. `time.time` of every process started with `environment` is the machine's clock plus
   the offset that stands in a shared file; the product knows nothing of it.
2. The monotonic clock is not touched: no jump of the wall clock moves it, and deadlines and
   heartbeats must live by it.
3. `reads_total` says that moved clocks were looked at, so that a jump nobody saw is no test.

Units: seconds.
Runs in: tests, and (by `sitecustomize`) the processes under test.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_SITE = """
import mmap, struct, time

def _moved_clock():
    with open({path!r}, "r+b") as file:
        shared = mmap.mmap(file.fileno(), 16)
    machine, unpack, pack = time.time, struct.Struct("d").unpack_from, struct.Struct("Q").pack_into
    count = struct.Struct("Q").unpack_from

    def moved():
        offset = unpack(shared)[0]
        if offset:
            pack(shared, 8, count(shared, 8)[0] + 1)
        return machine() + offset

    return moved

time.time = _moved_clock()
"""


class MovedClock:
    """The offset of all processes that run with `environment`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "clock"
        path.write_bytes(bytes(16))
        (folder / "sitecustomize.py").write_text(_SITE.format(path=str(path)))
        self.environment = {"PYTHONPATH": str(folder)}
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 16)

    def move(self, offset_s: float) -> None:
        """Set the clock to the machine's plus `offset_s`."""
        struct.pack_into("d", self._shared, 0, offset_s)

    @property
    def reads_total(self) -> int:
        """How often a moved clock was read, at least (processes count without a lock)."""
        return int(struct.unpack_from("Q", self._shared, 8)[0])

    def close(self) -> None:
        self._shared.close()
