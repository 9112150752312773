"""Coded forms of stored contents: blobs like any other, that no key names.

Rules:
1. A form is found by the digest of its content; so keys, freshness, proofs and generations know
   nothing of it, and what withdraws a key withdraws its coded form.
2. It is published as every blob is (synced, attested, counted in the budget) and goes with the blob
   of its content or before it. A lost one is made again, into the same bytes.
3. A rescan finds forms as blobs without a key and without a row here. They stay, as unnamed blobs
   do, until they are made again (which names the same file) or room is needed.

Does not: code content, or decide what is worth it.
Runs in: keeper (any thread; `put` and `attest` wait for the disk).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from mirror.errors import StoreError
from mirror.store.attesting import Attester
from mirror.store.budget import Reservation, footprint
from mirror.store.catalog import Catalog
from mirror.store.entry import NoVariant, Stored
from mirror.store.holds import Holds
from mirror.store.publishing import Publisher
from mirror.store.small_temps import SmallTemps


class Variants:
    """The coded forms in one store."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        holds: Holds,
        temps: SmallTemps,
        publisher: Publisher,
        attester: Attester,
        reserve: Callable[[int, int], Reservation | None],
        is_here: Callable[[bytes], bool],
    ) -> None:
        """`reserve` takes bytes and what they cost; `is_here` is asked by who holds the digest."""
        self._catalog = catalog
        self._holds = holds
        self._temps = temps
        self._publisher = publisher
        self._attester = attester
        self._reserve = reserve
        self._is_here = is_here

    def find(self, stored: Stored) -> Stored | NoVariant:
        """Return the coded form of `stored`, under its key."""
        return self._catalog.index.variant(stored)

    def attest(self, variant: Stored) -> bool:
        """Hash a form again; False when it is gone or was quarantined. Raises StoreError."""
        return self._attester.attest_blob(variant.entry.digest)

    def put(self, forms: Mapping[bytes, bytes]) -> None:
        """Store the coded form of each content, by the digest of the latter; b"": it does not pay.

        A content that is not stored any more is left out. Raises: StoreError, with none published.
        """
        blobs = {
            digest: hashlib.sha256(form).digest() if form else b"" for digest, form in forms.items()
        }
        contents = {blobs[digest]: form for digest, form in forms.items() if form}
        with self._holds.holding((*forms, *contents)):
            absent = {d: form for d, form in contents.items() if not self._is_here(d)}
            lengths = [len(form) for form in absent.values()]
            reservation = self._reserve(sum(lengths), sum(map(footprint, lengths)))
            if reservation is None:
                raise StoreError(next(iter(forms)).hex(), "no room in the byte budget")
            try:
                with self._temps.written(absent) as arrivals:
                    self._publisher.place_variants(arrivals, blobs, reservation)
            finally:
                reservation.release()

    def __repr__(self) -> str:
        return f"<Variants of {self._catalog.index!r}>"
