"""Whole hashes of stored blobs: one at a time per blob, and never in the way of bodies.

Rules:
1. Whoever asks for a blob that is being hashed shares the result: after a lost index, or when a
   file's ctime moved, every client of a popular blob asks at once.
2. A hash goes on when its askers were cancelled; its result is worth keeping.
3. That a row agrees with its file does not answer an ask: a worker also asks because bytes on disk
   went bad under an unchanged identity.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from mirror.store.entry import Stored

ATTEST_THREADS = 2  # 2 s per GB each: one huge blob does not hold up the others


class BlobHasher(Protocol):
    """The store, as far as this file needs it."""

    def attest(self, stored: Stored) -> Stored | None: ...


class Attests:
    """The running hashes, by digest. `aclose` waits for them."""

    def __init__(self, store: BlobHasher) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(ATTEST_THREADS, thread_name_prefix="attest")
        self._running: dict[bytes, asyncio.Future[Stored | None]] = {}

    def __repr__(self) -> str:
        return f"<Attests {len(self._running)} running>"

    async def attest(self, stored: Stored) -> Stored | None:
        """Hash the blob of `stored`; None: it is gone, or was quarantined. Raises StoreError.

        The result may be that of another key of the same blob.
        """
        digest = stored.entry.digest
        running = self._running.get(digest)
        if running is None:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._threads, self._store.attest, stored)
            self._running[digest] = running
            running.add_done_callback(lambda done: self._ended(digest, done))
        return await asyncio.shield(running)

    async def aclose(self) -> None:
        """Wait for the hashes that run; end the threads."""
        if self._running:
            await asyncio.wait(tuple(self._running.values()))
        self._threads.shutdown(wait=True)

    def _ended(self, digest: bytes, done: asyncio.Future[Stored | None]) -> None:
        del self._running[digest]
        if not done.cancelled():
            done.exception()  # marked as seen: its askers may have been cancelled
