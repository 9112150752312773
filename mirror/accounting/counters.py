"""Counters in memory-mapped files: one per process slot, never reset, surviving `kill -9`.

    0        8        16       24       32              48       56
    +--------+--------+--------+--------+----------------+--------+----------+----------------
    | magic  | version| slot   | cells  | id             | head   | layout   | cells: unsigned
    |        |        |        |        | (random)       | bytes  | (JSON)   | 64-bit, machine
    |        |        |        |        |                |        |          | order
    +--------+--------+--------+--------+----------------+--------+----------+----------------

Rules:
1. One writer per file: a lock says so. While a slot's former worker drains, its successor writes
   the slot's next file (`counters.3.1`), so no increment is lost between the two.
2. A cell only grows, without a system call or lock (a store of 8 aligned bytes is not torn).
   Readers see each cell whole, and cells of one moment roughly.
3. A file keeps the layout that it was made with. A process whose configuration asks for another
   one takes the slot's next file, as it does where a file is damaged; readers add up by name, so
   nothing is lost and nothing misread.
4. The id says which file it is: a file that was removed and made again counts from zero.

Units: bytes actually sent or received; slot -1 is the keeper.
Does not: survive power loss to the last second (nothing here calls fsync).
Runs in: worker and keeper (each its own file); readers: keeper, commands.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import mmap
import os
import secrets
import struct
from dataclasses import dataclass

import orjson

from mirror.accounting.layout import (
    OTHER,
    CellName,
    Layout,
    Outcome,
    Section,
    layout_of_version_1,
)
from mirror.errors import StoreError
from mirror.route.route import ContentClass

MAGIC = b"RMCOUNTS"
VERSION = 2
KEEPER_SLOT = -1
FILE_PREFIX = "counters."
FILES_PER_SLOT = 64  # drains that overlap, and layouts that were in use before
MAX_HEAD_BYTES = 1 << 20  # 64 groups and 32 URLs make some 10 KB
_START = struct.Struct("=8sQqQ")  # as version 1 has it
_REST = struct.Struct("=16sQ")
_HEAD_AT = _START.size + _REST.size
_MOVE_AWAY = "move it away; the counters begin at zero then"


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterFile:
    """What one file says at one moment."""

    path: str
    id: str
    slot: int
    layout: Layout
    cells: tuple[int, ...]

    def named(self) -> dict[CellName, int]:
        """Return the cells that are not zero, by name."""
        return self.layout.named(self.cells)


class Counters:
    """One process's counters. On a hot path keep `view` and a row: `view[row] += 1`."""

    def __init__(
        self, path: str, descriptor: int, memory: mmap.mmap, head_bytes: int, layout: Layout
    ) -> None:
        """Use `Counters.open`."""
        self.path = path
        self.layout = layout
        self._descriptor = descriptor
        self._memory = memory
        self._whole = memoryview(memory)
        self._cells = self._whole[head_bytes:]
        self.view: memoryview[int] = self._cells.cast("Q")

    @classmethod
    def open(cls, state_path: str, slot: int, layout: Layout) -> Counters:
        """Open (or make) the slot's file of this layout and lock it; must be called after the fork.

        Raises: StoreError when it cannot be used.
        """
        for number in range(FILES_PER_SLOT):
            path = os.path.join(state_path, file_name(slot, number))
            try:
                opened = _open(path, slot, layout)
            except OSError as exc:
                raise StoreError(path, exc.strerror or "cannot be used", noun="state") from exc
            if opened is not None:
                return opened
        raise StoreError(
            state_path,
            f"{FILES_PER_SLOT} counters files of slot {slot} are in use or of other layouts",
            hint="restart the mirror: files whose sums are in the ledger are removed",
            noun="state",
        )

    def row(self, content_class: ContentClass | None, outcome: Outcome) -> int:
        """Return the row's index in `view`, of clients that belong to no group."""
        word = OTHER if content_class is None else content_class.value
        return self.layout.row("served", OTHER, word, outcome.value)

    def close(self) -> None:
        """Unmap and unlock; idempotent. The file stays."""
        if self._descriptor < 0:
            return
        for view in (self.view, self._cells, self._whole):
            view.release()
        self._memory.close()
        os.close(self._descriptor)
        self._descriptor = -1

    def __repr__(self) -> str:
        return f"<Counters {self.path}{' closed' if self._descriptor < 0 else ''}>"


def file_name(slot: int, number: int) -> str:
    base = FILE_PREFIX + ("keeper" if slot == KEEPER_SLOT else str(slot))
    return f"{base}.{number}" if number else base


def counter_paths(state_path: str) -> list[str]:
    """Return the paths of all counters files."""
    return sorted(glob.glob(os.path.join(glob.escape(state_path), FILE_PREFIX + "*")))


def read_counters(path: str) -> CounterFile | None:
    """Read one file; its process may go on counting. None: there is none, or it is being made.

    Raises: StoreError for a file that cannot be read, or is none.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StoreError(path, exc.strerror or "cannot be read", noun="state") from exc
    return _parse(path, content) if content else None


def _open(path: str, slot: int, layout: Layout) -> Counters | None:
    """Return the counters when the file is free and of this layout."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not _is_at(path, descriptor):
            return None  # removed by the keeper between the two calls
        if os.fstat(descriptor).st_size == 0:
            # One write: a process killed here leaves an empty file or a whole one.
            os.pwrite(descriptor, _made(slot, layout), 0)
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        if not _is_of(path, content, layout):
            return None
        memory = mmap.mmap(descriptor, len(content), mmap.MAP_SHARED)
        head_bytes = len(content) - layout.cells * 8
        opened = Counters(path, descriptor, memory, head_bytes, layout)
        descriptor = -1
        return opened
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _is_of(path: str, content: bytes, layout: Layout) -> bool:
    """Whether counting can go on there. A damaged file is not: it is left for whoever reads it to
    tell, as no damage here may keep a process from serving."""
    with contextlib.suppress(StoreError):
        return _parse(path, content).layout == layout
    return False


def _is_at(path: str, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    return False


def _made(slot: int, layout: Layout) -> bytes:
    described = orjson.dumps(
        [[each.name, each.dimensions, each.columns] for each in layout.sections]
    )
    head_bytes = -(-(_HEAD_AT + len(described)) // 8) * 8
    head = _START.pack(MAGIC, VERSION, slot, layout.cells)
    head += _REST.pack(secrets.token_bytes(16), head_bytes)
    whole_bytes = head_bytes + layout.cells * 8
    return (head + described.ljust(head_bytes - _HEAD_AT)).ljust(whole_bytes, b"\0")


def _parse(path: str, content: bytes) -> CounterFile:
    """Raises: StoreError."""
    try:
        magic, version, slot, cells = _START.unpack_from(content)
        if magic != MAGIC:
            raise ValueError("another magic")
        if version == 1:
            identity = f"v1 {os.path.basename(path)}"
            return _parsed(path, identity, slot, content[_START.size :], layout_of_version_1())
        if version == VERSION:
            identity, head_bytes = _REST.unpack_from(content, _START.size)
            if not _HEAD_AT <= head_bytes <= MAX_HEAD_BYTES:
                raise ValueError("a head of another length")
            layout = _layout_of(content[_HEAD_AT:head_bytes])
            if layout.cells != cells:
                raise ValueError("another number of cells")
            return _parsed(path, identity.hex(), slot, content[head_bytes:], layout)
    except (struct.error, ValueError, TypeError) as exc:
        raise _refused(path, "is not a counters file", _MOVE_AWAY) from exc
    raise _refused(
        path,
        f"layout version {version}, this program writes {VERSION}",
        "run the version that wrote it, or move the file away (its sums are lost)",
    )


def _refused(path: str, reason: str, hint: str) -> StoreError:
    return StoreError(path, reason, hint=hint, noun="state", retryable=False)


def _layout_of(described: bytes) -> Layout:
    """Raises: ValueError, TypeError."""
    return Layout(
        sections=tuple(
            Section(
                name=str(name),
                dimensions=tuple(tuple(map(str, names)) for names in dimensions),
                columns=tuple(map(str, columns)),
            )
            for name, dimensions, columns in orjson.loads(described)
        )
    )


def _parsed(path: str, identity: str, slot: int, content: bytes, layout: Layout) -> CounterFile:
    if len(content) != layout.cells * 8:
        raise ValueError("another length")
    with memoryview(content).cast("Q") as view:
        return CounterFile(path=path, id=identity, slot=slot, layout=layout, cells=tuple(view))
