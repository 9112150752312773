"""Content of middle size in a worker's memory: what was asked for again lately.

Rules:
1. What is above `hot_entry.SMALL_BYTES` and at most `LARGEST_BYTES` is loaded when it is asked for
   the second time while its hot entry is known: a scan of large files loads nothing, and what they
   take is never taken from small objects.
2. It is loaded in a thread, hashed, and used from then on; until it is there the file is sent. Not
   more than `LOADS` at once.
3. Loaded bytes that are not what the digest says are told like a changed file, of this file, until
   it is another one.
4. Named by digest, so what an entry names at another epoch is found under its own digest or not at
   all; who may be given it is decided before anybody looks here.
5. Never more than `limit_bytes`, with what is let go and slow readers still hold: what they hold is
   counted until they let go of it, and while there is no room nothing is loaded.

Units: bytes.
Runs in: worker (and a thread per load).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from mirror.serve.file_pages import FilePages
from mirror.serve.hot_entry import HotEntry
from mirror.serve.ports import StoreView
from mirror.serve.sources import ContentSource, FileSource, Source
from mirror.store.entry import Attestation, Stored
from mirror.store.hot import HotMap
from mirror.store.reader import BlobChanged, BlobFile, BlobMissing

# Measured on loopback: written from memory 1 MB leaves faster than by `sendfile`, for 160 us of CPU
# instead of 102; what is larger is better sent from the page cache, where all workers share it.
LARGEST_BYTES: Final = 1 << 20
LOADS: Final = 4
_OVERHEAD_BYTES: Final = 512
_MAX_CHANGED: Final = 1024  # rotten files that the keeper has not looked at; then all are forgotten
_CHANGED: Final = BlobChanged()
# When the map lets its elder half go, all of that may still be held by readers: 2/3 + 1/3.
_MAP_RATIO: Final = 2 / 3

_Loaded = bytes | BlobMissing | BlobChanged


class _Held:
    """How much is in memory: kept, or still held by a reader."""

    __slots__ = ("used_bytes",)

    def __init__(self) -> None:
        self.used_bytes = 0


class Kept:
    """One content; counted until the last one has let go of it."""

    __slots__ = ("_held", "content")

    def __init__(self, content: bytes, held: _Held) -> None:
        self.content = content
        self._held = held
        held.used_bytes += len(content) + _OVERHEAD_BYTES

    def __del__(self) -> None:
        # Nothing refers back to what is kept, so the last reference ends it at once.
        self._held.used_bytes -= len(self.content) + _OVERHEAD_BYTES


class KeptSource(ContentSource):
    """Content that is kept for others too; counted while this is open."""

    __slots__ = ("_kept",)

    def __init__(self, kept: Kept) -> None:
        super().__init__(kept.content)
        self._kept: Kept | None = kept

    def close(self) -> None:
        super().close()
        self._kept = None


class HotContents:
    """The contents in memory of one worker, and where all others come from."""

    __slots__ = ("_changed", "_held", "_kept", "_limit_bytes", "_loading", "_pages", "_reader")

    def __init__(self, limit_bytes: int, reader: StoreView, pages: FilePages) -> None:
        self._changed: set[Attestation | None] = set()
        self._limit_bytes = limit_bytes
        self._reader = reader
        self._pages = pages
        self._kept: HotMap[bytes, Kept] = HotMap(int(limit_bytes * _MAP_RATIO))
        self._loading: dict[bytes, int] = {}
        self._held = _Held()

    def __repr__(self) -> str:
        return f"<HotContents {len(self._kept)} kept, {self.used_bytes} bytes>"

    @property
    def used_bytes(self) -> int:
        """All there is in memory, with what only readers still hold."""
        return self._held.used_bytes

    @property
    def is_loading(self) -> bool:
        return bool(self._loading)

    def clear(self) -> None:
        """Let everything go that no reader holds."""
        self._kept.clear()

    def find(self, hot: HotEntry) -> Kept | None:
        """Return the content of a hot entry that is in memory here."""
        return self._kept.get(hot.file.entry.digest)

    def open(self, hot: HotEntry) -> Source | BlobMissing | BlobChanged:
        """Return where the content of a large entry comes from; its receiver closes it."""
        file = hot.file
        kept = self._kept.get(file.entry.digest)
        if kept is not None:
            return KeptSource(kept)
        if file.attestation in self._changed:
            return _CHANGED
        opened = self._reader.open_blob(file)
        if not isinstance(opened, BlobFile):
            return opened
        if hot.was_asked:
            self._load(file)
        hot.was_asked = True
        return FileSource(self._pages, opened.fd)

    def _load(self, stored: Stored) -> None:
        """Bring content into memory if there is room for it."""
        digest, cost_bytes = stored.entry.digest, stored.entry.length + _OVERHEAD_BYTES
        if stored.entry.length > LARGEST_BYTES or not self._kept.fits(cost_bytes):
            return
        if len(self._loading) >= LOADS or digest in self._loading:
            return
        promised_bytes = sum(self._loading.values())
        if self.used_bytes + promised_bytes + cost_bytes > self._limit_bytes:
            return
        self._loading[digest] = cost_bytes
        loading = self._pages.run(partial(self._reader.load_small, stored))
        loading.add_done_callback(partial(self._loaded, stored))

    def _loaded(self, stored: Stored, loading: asyncio.Future[_Loaded]) -> None:
        digest = stored.entry.digest
        cost_bytes = self._loading.pop(digest)
        if loading.cancelled() or loading.exception() is not None:
            return  # the worker ends, or the disk fails: who asks next meets that
        loaded = loading.result()
        if isinstance(loaded, bytes):
            self._kept.put(digest, Kept(loaded, self._held), cost_bytes)
        elif isinstance(loaded, BlobChanged):
            if len(self._changed) >= _MAX_CHANGED:
                self._changed.clear()
            self._changed.add(stored.attestation)
