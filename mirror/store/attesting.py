"""Blobs looked at again: hash the file, then vouch for it anew, name it, or condemn it.

Rules:
1. A blob is vouched for only after a whole hash, under the identity it had while it was read and
   still has afterwards.
2. A file that is not its name's content goes to the quarantine, every key naming it with it, and
   the epoch moves. So does one that the disk cannot read (EIO).
3. While a file is read it is held: eviction does not take it, and nobody replaces it.
4. To learn that a blob is not here takes no lock: a miss asks this for every body.
5. Who wants to fetch a condemned blob anew is told after its rows are gone (`on_condemned`).

Runs in: keeper (a thread: hashing takes about 2 s per GB); takes the store's lock for moments.
"""

from __future__ import annotations

import enum
import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.store.blob_reading import Fault, Judgement
from mirror.store.catalog import Catalog
from mirror.store.changes import Changes
from mirror.store.entry import Attestation, Entry, Stored
from mirror.store.files import store_error
from mirror.store.holds import Holds
from mirror.store.layout import Layout
from mirror.store.points import Point, passed
from mirror.store.quarantine import Quarantine, Reason

_SHOWN_KEYS = 16
# A sector that cannot be read, or something else than a file under a blob's name.
_BAD_FILE = (errno.EIO, errno.ENXIO, errno.ELOOP)


class Verdict(enum.Enum):
    """What became of a blob that was looked at again."""

    VOUCHED = "vouched"
    GONE = "gone"  # evicted, or given up, meanwhile
    LOST = "lost"  # the index had it, and its file was taken by somebody else
    CONDEMNED = "condemned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condemned:
    """A blob that went to the quarantine, or was found missing: the `keys` that named it; it may
    also have been the coded form of what the keys `coded` name."""

    digest: bytes
    keys: tuple[str, ...]
    coded: tuple[str, ...]


def _nobody(condemned: Condemned) -> None:
    """Whom a condemnation is told to when nobody asked."""


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
        self.on_condemned: Callable[[Condemned], None] = _nobody

    def adopt(self, digest: bytes, entry: Entry) -> Stored | None:
        """Name a blob that is here already; None when it is not, or not what it says.

        The entry's digest and length become the blob's own.
        """
        if not self._may_be_here(digest):
            return None
        with self._holds.holding((digest,)):
            attestation = self._vouch_anew(digest)
            if isinstance(attestation, Verdict):
                return None
            named = replace(entry, digest=digest, length=attestation.size)
            with self._lock:
                self._holds.linger(digest)
                known = self._catalog.record([named])
                return known[0] if known else None

    def attest(self, stored: Stored) -> Stored | None:
        """Hash the blob behind `stored`; None when it is gone or was condemned."""
        with self._holds.holding((stored.entry.digest,)):
            if isinstance(self._vouch_anew(stored.entry.digest), Verdict):
                return None
            return self._catalog.index.lookup(stored.entry.key)

    def attest_blob(self, digest: bytes) -> bool:
        """Hash a blob that no key may name; False when it is gone or was condemned."""
        with self._holds.holding((digest,)):
            return not isinstance(self._vouch_anew(digest), Verdict)

    def look_again(self, digest: bytes) -> Verdict:
        """Hash a blob for the scrub: that is no use of it. Raises StoreError: cannot be told."""
        with self._holds.holding((digest,)):
            found = self._vouch_anew(digest, is_use=False)
            return found if isinstance(found, Verdict) else Verdict.VOUCHED

    def vouch_read(self, digest: bytes, attestation: Attestation) -> Verdict:
        """Vouch for a blob that was just read, and good, under `attestation`; look again if the
        file is another one by now. Raises StoreError: cannot be told."""
        with self._holds.holding((digest,)), self._lock:
            if not self._catalog.read(lambda index: index.has_blob(digest)):
                return Verdict.GONE
            if self._catalog.blobs.identify(digest) == attestation:
                self._write_row(digest, attestation, is_use=False)
                return Verdict.VOUCHED
        return self.look_again(digest)

    def _may_be_here(self, digest: bytes) -> bool:
        if self._catalog.blobs.identify(digest) is not None:
            return True
        try:
            return self._catalog.index.has_blob(digest)
        except StoreError:
            return True  # a damaged index is repaired on the long way

    def _vouch_anew(self, digest: bytes, *, is_use: bool = True) -> Attestation | Verdict:
        found = self._catalog.blobs.judge(digest)
        if found.fault is Fault.UNREADABLE and found.error is not None:
            if found.error.errno not in _BAD_FILE:
                raise store_error(digest.hex(), found.error) from found.error
            return self._condemn(digest, found, f"unreadable: {found.error.strerror}")
        with self._lock:
            if found.fault is Fault.OTHER_CONTENT:
                return self._condemn(digest, found, found.fault.value)
            attestation = found.attestation
            if attestation is None or self._catalog.blobs.identify(digest) != attestation:
                return self._drop_absent(digest)
            self._write_row(digest, attestation, is_use=is_use)
            return attestation

    def _write_row(self, digest: bytes, attestation: Attestation, *, is_use: bool) -> None:
        now_ms = self._catalog.now_ms()

        def change(changes: Changes) -> int:
            grown = changes.put_blob(digest, attestation, now_ms if is_use else 0)
            changes.checked([(digest, attestation)], now_ms)
            return grown

        self._catalog.budget.store(self._catalog.commit(change))

    def _drop_absent(self, digest: bytes) -> Verdict:
        if self._catalog.blobs.identify(digest) is not None:
            raise StoreError(digest.hex(), "the file changed while it was read")
        if self._catalog.read(lambda index: index.has_blob(digest)):
            # Rows go before files: this file was taken by somebody else.
            keys = self._catalog.drop_blob(digest)
            self.on_condemned(Condemned(digest=digest, keys=tuple(keys), coded=()))
            return Verdict.LOST
        return Verdict.GONE

    def _condemn(self, digest: bytes, found: Judgement, why: str) -> Verdict:
        with self._lock:
            # A variant has no key; who looks into the quarantine wants to know whose it was.
            coded = self._catalog.read(lambda index: index.keys_of_variant(digest))
            named = self._catalog.drop_blob(digest)
            passed(Point.QUARANTINE_DROPPED)
            keys = (named or coded)[:_SHOWN_KEYS]
            reason = Reason(
                keys=tuple(keys),
                expected=digest.hex(),
                got=found.got.hex(),
                length=found.attestation.size if found.attestation else 0,
                reason=why,
                at=self._clock.now(),
            )
            self._quarantine.take(self._layout.blob(digest), reason)
        if self._log is not None:
            self._log.error("blob-condemned", digest=digest.hex(), keys=keys, reason=why)
        self.on_condemned(Condemned(digest=digest, keys=tuple(named), coded=tuple(coded)))
        return Verdict.CONDEMNED
