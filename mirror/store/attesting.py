"""Blobs looked at again: hash the file, then vouch for it anew, name it, or condemn it.

Rules:
1. A blob is vouched for only after a whole hash, under the identity it had while it was read and
   still has afterwards.
2. A file that is not its name's content goes to the quarantine, every key naming it with it, and
   the epoch moves. So does one that the disk cannot read (EIO).
3. While a file is read it is held: eviction does not take it, and nobody replaces it.
4. To learn that a blob is not here takes no lock: a miss asks this for every body.

Runs in: keeper (a thread: hashing takes about 2 s per GB); takes the store's lock for moments.
"""

from __future__ import annotations

import errno
import threading
from dataclasses import replace

from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.store.blobs import BlobSeen
from mirror.store.catalog import Catalog
from mirror.store.changes import Changes
from mirror.store.entry import Attestation, Entry, Stored
from mirror.store.files import store_error
from mirror.store.holds import Holds
from mirror.store.layout import Layout
from mirror.store.quarantine import Quarantine, Reason


class Attester:
    """Re-hashes blobs of one store."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        holds: Holds,
        quarantine: Quarantine,
        layout: Layout,
        clock: Clock,
        lock: threading.RLock,
        log: EventLog | None,
    ) -> None:
        self._catalog = catalog
        self._holds = holds
        self._quarantine = quarantine
        self._layout = layout
        self._clock = clock
        self._lock = lock
        self._log = log

    def adopt(self, digest: bytes, entry: Entry) -> Stored | None:
        """Name a blob that is here already; None when it is not, or not what it says.

        The entry's digest and length become the blob's own.
        """
        if not self._may_be_here(digest):
            return None
        with self._holds.holding((digest,)):
            attestation = self._vouch_anew(digest)
            if attestation is None:
                return None
            named = replace(entry, digest=digest, length=attestation.size)
            with self._lock:
                self._holds.linger(digest)
                known = self._catalog.record([named])
                return known[0] if known else None

    def attest(self, stored: Stored) -> Stored | None:
        """Hash the blob behind `stored`; None when it is gone or was condemned."""
        with self._holds.holding((stored.entry.digest,)):
            if self._vouch_anew(stored.entry.digest) is None:
                return None
            return self._catalog.index.lookup(stored.entry.key)

    def attest_blob(self, digest: bytes) -> bool:
        """Hash a blob that no key may name; False when it is gone or was condemned."""
        with self._holds.holding((digest,)):
            return self._vouch_anew(digest) is not None

    def _may_be_here(self, digest: bytes) -> bool:
        if self._catalog.blobs.identify(digest) is not None:
            return True
        try:
            return self._catalog.index.has_blob(digest)
        except StoreError:
            return True  # a damaged index is repaired on the long way

    def _vouch_anew(self, digest: bytes) -> Attestation | None:
        try:
            seen = self._catalog.blobs.hash(digest)
        except OSError as exc:
            if exc.errno not in (errno.EIO, errno.ENXIO, errno.ELOOP):
                raise store_error(digest.hex(), exc) from exc
            self._condemn(digest, None, f"unreadable: {exc.strerror}")
            return None
        with self._lock:
            if seen is not None and seen.digest != digest:
                self._condemn(digest, seen, "the file is not what its name says")
                return None
            if seen is None or self._catalog.blobs.identify(digest) != seen.attestation:
                self._drop_absent(digest)
                return None
            self._write_row(seen)
            return seen.attestation

    def _write_row(self, seen: BlobSeen) -> None:
        used_at_ms = self._catalog.now_ms()

        def change(changes: Changes) -> int:
            return changes.put_blob(seen.digest, seen.attestation, used_at_ms)

        self._catalog.budget.store(self._catalog.commit(change))

    def _drop_absent(self, digest: bytes) -> None:
        if self._catalog.blobs.identify(digest) is not None:
            raise StoreError(digest.hex(), "the file changed while it was read")
        if self._catalog.read(lambda index: index.has_blob(digest)):
            self._catalog.drop_blob(digest)

    def _condemn(self, digest: bytes, seen: BlobSeen | None, why: str) -> None:
        with self._lock:
            # A variant has no key; who looks into the quarantine wants to know whose it was.
            whose = self._catalog.read(lambda index: index.keys_of_variant(digest))
            keys = self._catalog.drop_blob(digest) or whose
            reason = Reason(
                keys=tuple(keys[:16]),
                expected=digest.hex(),
                got=seen.digest.hex() if seen else "",
                length=seen.attestation.size if seen else 0,
                reason=why,
                at=self._clock.now(),
            )
            self._quarantine.take(self._layout.blob(digest), reason)
        if self._log is not None:
            self._log.error("blob-condemned", digest=digest.hex(), keys=keys[:16], reason=why)
