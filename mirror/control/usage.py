"""What a process takes of its machine, as the kernel tells it.

Units: seconds, bytes.
Runs in: keeper.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# Positions in /proc/<pid>/stat behind the name, which is in parentheses and may hold anything.
_USER, _SYSTEM, _RESIDENT = 11, 12, 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    cpu_s: float  # since it began, of all cores
    resident_bytes: int


def usage_of(pid: int) -> Usage | None:
    """Return what the process takes; None when there is none, or it is not ours to see."""
    if pid <= 0:
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            cells = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    if len(cells) <= _RESIDENT:
        return None
    ticks = int(cells[_USER]) + int(cells[_SYSTEM])
    return Usage(cpu_s=ticks / _TICKS_PER_S, resident_bytes=int(cells[_RESIDENT]) * _PAGE_BYTES)
