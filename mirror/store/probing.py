"""A look whether the store can take something: all that storing does, with bytes of its own.

Steps; the first that fails tells why:
1. the floors hold
2. what the disk refused to remove goes
3. a temp is made, written, synced and removed (its name is swept at the next start, if need be)
4. the index commits

Units: bytes.
Runs in: keeper (any thread; waits for the disk).
"""

from __future__ import annotations

import contextlib
import threading

from mirror.store.capacity import Capacity
from mirror.store.catalog import Catalog
from mirror.store.changes import Changes
from mirror.store.files import Files, disk_errors, unlink_if_there, write_all
from mirror.store.layout import Layout
from mirror.store.leftovers import Leftovers
from mirror.store.room import Room

# As much as one write of a body: a quota that has room for a block only shows here.
PROBE_BYTES = 1 << 20
_NAME = "probe.tmp"
_FACT = "probe"


class Probe:
    """Looks at one store."""

    def __init__(
        self,
        *,
        files: Files,
        layout: Layout,
        capacity: Capacity,
        room: Room,
        leftovers: Leftovers,
        catalog: Catalog,
        lock: threading.RLock,
    ) -> None:
        self._files = files
        self._path = layout.partial(_NAME)
        self._capacity = capacity
        self._room = room
        self._leftovers = leftovers
        self._catalog = catalog
        self._lock = lock
        self._turn = 0
        self._one_at_a_time = threading.Lock()

    def __call__(self) -> None:
        """Return when the store can take something. Raises StoreError."""
        with self._one_at_a_time:
            self._look()

    def _look(self) -> None:
        self._capacity.require_floors()
        self._leftovers.clear()
        self._room.clear_leftovers()
        with disk_errors(self._path):
            self._write()
        self._turn += 1
        turn = str(self._turn)

        def change(changes: Changes) -> None:
            changes.set_fact(_FACT, turn)

        with self._lock:
            self._catalog.commit(change)

    def _write(self) -> None:
        unlink_if_there(self._files, self._path)
        fd = self._files.create(self._path)
        try:
            write_all(self._files, fd, bytes(PROBE_BYTES), 0)
            self._files.sync(fd)
        finally:
            with contextlib.suppress(OSError):
                self._files.close(fd)
            unlink_if_there(self._files, self._path)
