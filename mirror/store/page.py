"""The shared-memory page: epoch, heartbeats and restart counts, read without a system call.

    word 0..7    magic, version, slots, epoch, first word of the sequence table, its words,
                 index generation, key of the sequence table's hash
    word 8..15   the keeper's record
    word 16..    one record of 8 words per worker slot
    then         the sequence table (its meaning belongs to `serve`; here it is only room)

    record: heartbeat in monotonic ms, pid, restarts, seen epoch, 4 spare

Rules:
1. Words are 8 bytes, aligned, in the machine's order; each has one writer: epoch and index
   generation the keeper; heartbeat and seen epoch their own process; pid and restarts the
   supervisor.
2. The file's blocks are allocated when it is made: a mapped hole on a full disk is a SIGBUS.
3. The key of the sequence table is random and made with the page: no client can know which of its
   addresses share a place in the table.
4. `create` makes a fresh file under the old name, so that a process of an earlier supervisor that
   still lives cannot write into it.

Units: milliseconds of the monotonic clock (comparable across processes of one machine).
Does not: judge who is late, or signal anybody.
Runs in: supervisor (create), worker and keeper (inherited or attached).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys

from mirror.errors import StoreError
from mirror.store.files import disk_errors

PAGE_NAME = "shared.page"
MAX_SLOTS = 1024
SEQUENCE_WORDS = 131072  # 1 MiB: 16,384 sequences of 64 bytes, for 10,000 clients at once

_MAGIC = int.from_bytes(b"rmirpage", "little")
PAGE_VERSION = 2
_SLOTS, _EPOCH, _SEQUENCE_AT, _SEQUENCE_WORDS, _INDEX_GENERATION = 2, 3, 4, 5, 6
_SEQUENCE_KEY = 7
_KEEPER_WORD = 8
_WORKERS_WORD = 16
_RECORD_WORDS = 8
_BEAT, _PID, _RESTARTS, _SEEN = 0, 1, 2, 3
KEEPER_SLOT = -1


class SharedPage:
    """One mapping of the page. Slot `KEEPER_SLOT` is the keeper's record."""

    __slots__ = ("_map", "_words", "slots")

    def __init__(self, mapped: mmap.mmap, slots: int) -> None:
        self._map = mapped
        self._words = memoryview(mapped).cast("Q")
        self.slots = slots

    @classmethod
    def create(cls, path: str, slots: int) -> SharedPage:
        """Make a fresh page for up to `slots` workers. Raises StoreError."""
        if not 0 < slots <= MAX_SLOTS:
            raise ValueError(f"{slots} slots")
        sequence_at = _WORKERS_WORD + slots * _RECORD_WORDS
        size = (sequence_at + SEQUENCE_WORDS) * 8
        temp = f"{path}.{os.getpid()}.tmp"
        with disk_errors(path, noun="state"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temp)
            fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, size)
                page = cls(mmap.mmap(fd, size), slots)
                page._words[1] = PAGE_VERSION
                page._words[_SLOTS] = slots
                page._words[_EPOCH] = 1
                page._words[_SEQUENCE_AT] = sequence_at
                page._words[_SEQUENCE_WORDS] = SEQUENCE_WORDS
                page._words[_SEQUENCE_KEY] = int.from_bytes(os.urandom(8), sys.byteorder)
                page._words[0] = _MAGIC
                os.rename(temp, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temp)
                raise
            finally:
                os.close(fd)
        return page

    @classmethod
    def attach(cls, path: str) -> SharedPage:
        """Map the page that the running supervisor made. Raises StoreError."""
        with disk_errors(path, noun="state"):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                size = os.fstat(fd).st_size
                if size < _WORKERS_WORD * 8 or size % 8:
                    raise StoreError(path, "not a shared page", retryable=False, noun="state")
                mapped = mmap.mmap(fd, size)
            finally:
                os.close(fd)
        with memoryview(mapped).cast("Q") as words:
            head = words[:8].tolist()
        slots = head[_SLOTS]
        expected = (_WORKERS_WORD + slots * _RECORD_WORDS + SEQUENCE_WORDS) * 8
        if head[0] != _MAGIC or head[1] != PAGE_VERSION or size != expected:
            mapped.close()
            raise StoreError(
                path, f"not a shared page of version {PAGE_VERSION}", retryable=False, noun="state"
            )
        return cls(mapped, slots)

    @property
    def epoch(self) -> int:
        return self._words[_EPOCH]

    def bump_epoch(self) -> int:
        """Tell every worker that something was withdrawn. The keeper's alone; after the commit."""
        moved = self._words[_EPOCH] + 1
        self._words[_EPOCH] = moved
        return moved

    @property
    def index_generation(self) -> int:
        return self._words[_INDEX_GENERATION]

    def index_replaced(self) -> int:
        """Tell every reader that the index is another file. The keeper's; before the epoch."""
        moved = self._words[_INDEX_GENERATION] + 1
        self._words[_INDEX_GENERATION] = moved
        return moved

    def beat(self, slot: int, monotonic_ms: int) -> None:
        self._words[self._at(slot) + _BEAT] = monotonic_ms

    def heartbeat(self, slot: int) -> int:
        """Return the last beat in monotonic ms; 0: none since `set_pid`."""
        return self._words[self._at(slot) + _BEAT]

    def saw_epoch(self, slot: int, epoch: int) -> None:
        self._words[self._at(slot) + _SEEN] = epoch

    def seen_epoch(self, slot: int) -> int:
        return self._words[self._at(slot) + _SEEN]

    def set_pid(self, slot: int, pid: int) -> None:
        """Begin the record of another process in `slot`: no beat, no epoch seen. pid 0: nobody."""
        at = self._at(slot)
        self._words[at + _BEAT] = 0
        self._words[at + _SEEN] = 0
        self._words[at + _PID] = pid

    def pid(self, slot: int) -> int:
        return self._words[self._at(slot) + _PID]

    def count_restart(self, slot: int) -> int:
        at = self._at(slot) + _RESTARTS
        self._words[at] += 1
        return self._words[at]

    def restarts(self, slot: int) -> int:
        return self._words[self._at(slot) + _RESTARTS]

    @property
    def sequence_key(self) -> bytes:
        """The key of the sequence table's hash: 8 random bytes, the same for every process."""
        return self._words[_SEQUENCE_KEY].to_bytes(8, sys.byteorder)

    def sequence_words(self) -> memoryview[int]:
        """Return the room of the sequence table as words; release it before `close`."""
        at = self._words[_SEQUENCE_AT]
        return self._words[at : at + self._words[_SEQUENCE_WORDS]]

    def close(self) -> None:
        self._words.release()
        self._map.close()

    def __repr__(self) -> str:
        return f"<SharedPage {self.slots} slots, epoch {self.epoch}>"

    def _at(self, slot: int) -> int:
        if slot == KEEPER_SLOT:
            return _KEEPER_WORD
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} of {self.slots}")
        return _WORKERS_WORD + slot * _RECORD_WORDS
