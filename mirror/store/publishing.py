"""Turning synced temps into blobs, and naming them: the one way content becomes visible.

Steps of `place`, with the crash points (`points`) that follow them; a crash after step n leaves
what is said there:
1. commit: `arriving` names the digests        - nothing else changed; dropped at the next start
   (publish.announced)
2. rename each temp to its blob name           - files without rows; the next start gives them rows
   (publish.renamed, once per file)
3. sync the directories (publish.synced)       - the same, also after a power cut
4. attest: `lstat` after the rename (it changes ctime)
5. heads (publish.headed)                      - records for a rescan, verified content
6. commit: blob rows, entries, `arriving` off  - the whole is there, for every reader at once
   (publish.committed)
7. move the epoch, when something served was replaced (publish.told)

A failure in 2-6 removes the files that got no row; the caller removes its temps.

Steps 2 to 4 wait for the disk and hold no lock that a look-up, an adoption or a reservation needs;
the caller holds the digests (`holds`), so that nobody else touches their files meanwhile.

Runs in: keeper (any thread).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mirror.errors import StoreError
from mirror.store.budget import Reservation
from mirror.store.catalog import Catalog, Written
from mirror.store.changes import Changes
from mirror.store.entry import Attestation, Entry, Stored
from mirror.store.files import disk_errors
from mirror.store.points import Point, passed
from mirror.store.tally import StoreTally


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A synced temp with verified content."""

    temp_path: str
    digest: bytes
    length: int


class Publisher:
    """Places arrivals in one store."""

    def __init__(
        self, catalog: Catalog, lock: threading.RLock, tally: StoreTally, leftover: set[bytes]
    ) -> None:
        """`leftover` gets what a failure leaves and the disk refuses to remove (`room`)."""
        self._leftover = leftover
        self._catalog = catalog
        self._lock = lock
        self._tally = tally

    def place(
        self,
        arrivals: Sequence[Arrival],
        entries: Sequence[Entry],
        records: Sequence[Entry],
        reservation: Reservation,
    ) -> list[Stored]:
        """Publish `arrivals`, `entries` and `records` together, or nothing. Raises StoreError.

        `reservation` is released in exchange for the bytes that are then stored. Returns what
        `entries` name; of `records` those whose blob is gone are left out.
        """
        catalog = self._catalog
        with self._landing(arrivals) as attested, self._lock:
            catalog.prepare_heads([*entries, *catalog.moved(records)])  # 5
            passed(Point.PUBLISH_HEADED)
            grown, written = self._name(attested, entries, records)  # 6
            passed(Point.PUBLISH_COMMITTED)
            reservation.exchange(grown)
            if written.moves_epoch:
                catalog.bump_epoch()  # 7
            passed(Point.PUBLISH_TOLD)
        if attested:
            self._tally.published(len(attested), grown)
        return written.stored

    def place_variants(
        self, arrivals: Sequence[Arrival], blobs: Mapping[bytes, bytes], reservation: Reservation
    ) -> None:
        """As `place`, for coded forms: no key names them, so there are no heads and no epoch.

        `blobs` is the digest of each form by that of its content (b"": it does not pay); a content
        that has gone meanwhile is left out. Raises StoreError.
        """
        with self._landing(arrivals) as attested, self._lock:
            used_at_ms = self._catalog.now_ms()

            def change(changes: Changes) -> tuple[int, set[bytes]]:
                wanted = {blob for of, blob in blobs.items() if changes.put_variant(of, blob)}
                changes.arrived(attested)
                grown = sum(
                    changes.put_blob(blob, attested[blob], used_at_ms)
                    for blob in wanted & attested.keys()
                )
                return grown, attested.keys() - wanted

            grown, unwanted = self._catalog.commit(change)
            passed(Point.PUBLISH_COMMITTED)
            reservation.exchange(grown)
            if unwanted:
                self._undo(unwanted)
        if len(attested) > len(unwanted):
            self._tally.published(len(attested) - len(unwanted), grown)

    @contextlib.contextmanager
    def _landing(self, arrivals: Sequence[Arrival]) -> Iterator[dict[bytes, Attestation]]:
        """Steps 1 to 4; what is named in the block stays, files without a row go."""
        digests = [arrival.digest for arrival in arrivals]
        if digests:
            with self._lock:
                self._catalog.commit(lambda changes: changes.expect(digests))  # 1
            passed(Point.PUBLISH_ANNOUNCED)
        try:
            yield self._land(arrivals)
        except BaseException:
            with self._lock:
                self._undo(digests)
            raise

    def _land(self, arrivals: Sequence[Arrival]) -> dict[bytes, Attestation]:
        blobs = self._catalog.blobs
        with disk_errors("blobs"):
            blobs.prepare_directories(arrival.digest for arrival in arrivals)
            for arrival in arrivals:
                blobs.place(arrival.temp_path, arrival.digest)  # 2
                passed(Point.PUBLISH_RENAMED)
            blobs.sync_names(arrival.digest for arrival in arrivals)  # 3
        passed(Point.PUBLISH_SYNCED)
        attested: dict[bytes, Attestation] = {}
        for arrival in arrivals:
            identity = blobs.identify(arrival.digest)  # 4
            if identity is None or identity.size != arrival.length:
                raise StoreError(arrival.digest.hex(), "the file is not the one that was written")
            attested[arrival.digest] = identity
        return attested

    def _name(
        self,
        attested: dict[bytes, Attestation],
        entries: Sequence[Entry],
        records: Sequence[Entry],
    ) -> tuple[int, Written]:
        """Return by how many bytes the store grew, and what was written."""
        catalog = self._catalog
        used_at_ms = catalog.now_ms()

        def change(changes: Changes) -> tuple[int, Written]:
            grown = sum(
                changes.put_blob(digest, attestation, used_at_ms)
                for digest, attestation in attested.items()
            )
            changes.arrived(attested)
            written = catalog.put(changes, entries)
            if len(written.stored) != len(entries):
                raise StoreError(entries[0].key, "the blob of an entry is not stored")
            recorded = catalog.put(changes, records)
            moves_epoch = written.moves_epoch or recorded.moves_epoch
            return grown, Written(stored=written.stored, moves_epoch=moves_epoch)

        return catalog.commit(change)

    def _undo(self, digests: Iterable[bytes]) -> None:
        """Remove files that have no row; what fails here stays announced, so that the next start
        settles it if `room` cannot before."""
        catalog = self._catalog
        settled: list[bytes] = []
        with contextlib.suppress(StoreError):
            for digest in digests:
                if not catalog.index.has_blob(digest):
                    try:
                        catalog.blobs.remove(digest)
                    except OSError:
                        self._leftover.add(digest)
                        continue
                settled.append(digest)
            catalog.commit(lambda changes: changes.arrived(settled))


def require_content(entries: Sequence[Entry], digest: bytes, length: int) -> None:
    """Raises StoreError when one of `entries` states something else than what landed."""
    for entry in entries:
        if (entry.digest, entry.length) != (digest, length):
            raise StoreError(
                entry.key,
                f"states {entry.digest.hex()} of {entry.length} bytes,"
                f" what landed is {digest.hex()} of {length} bytes",
                retryable=False,
            )
