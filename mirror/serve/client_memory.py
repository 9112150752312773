"""The memory of the client table: anonymous, shared by every process that is forked later.

Rules:
1. Nothing of it exists before it is written: slots that nobody has cost no memory. So it is there
   whether limits are on or not, and a reload may turn them on.
2. It has no file: a full disk cannot take it away (SIGBUS), and a crash leaves nothing of it.
3. Its size is that of the configuration at the start; a reload does not change it.

Runs in: supervisor (made), worker.
"""

from __future__ import annotations

import mmap
from typing import Final

from mirror.serve.client_table import ClientTable, words_for

# linux/mman.h: MAP_NORESERVE; the module has no name for it before Python 3.13.
_MAP_NORESERVE: Final = 0x4000
_WORD_BYTES: Final = 8


class ClientMemory:
    """Room for the tables of `slots` workers, `clients` each."""

    __slots__ = ("_map", "_slots", "_words")

    def __init__(self, slots: int, clients: int) -> None:
        """Raises: OSError when the kernel does not give so much."""
        self._slots = slots
        self._words = words_for(slots, clients)
        flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._map = mmap.mmap(-1, self._words * _WORD_BYTES, flags=flags)

    def __repr__(self) -> str:
        return f"<ClientMemory {self._slots} slots, {self._words * _WORD_BYTES >> 20} MiB>"

    def table(self, slot: int, key: bytes) -> ClientTable:
        """Return the table for the worker of `slot`; close it before this."""
        words = memoryview(self._map).cast("Q")[: self._words]
        return ClientTable(words, self._slots, slot, key)

    def close(self) -> None:
        self._map.close()
