"""Stored blobs looked at again, the one that was checked longest ago first.

Rules:
1. A look reads aside (`blob_reading`) and holds nothing: neither eviction nor a request waits for
   it, however slowly it goes. A file that is good and the attested one is noted as checked.
2. A good file of another identity (after a lost index, a restored backup) is vouched for anew. What
   is not good is looked at once more under a hold (`attesting`) before it is condemned, so that a
   file that changed hands meanwhile is no alarm.
3. What was checked stands in the index alone: a restart goes on where the last keeper was. Losing
   the newest notes in a crash costs a second look.
4. Blobs that no key names and coded forms are looked at as all others are.

Units: Unix milliseconds, bytes.
Does not: pace itself, or fetch anew.
Runs in: keeper (a thread); takes the store's lock for moments.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mirror.store.attesting import Attester, Condemned, Verdict
from mirror.store.blob_reading import judge
from mirror.store.catalog import Catalog
from mirror.store.entry import Attestation
from mirror.store.files import Files
from mirror.store.layout import Layout

STEP_BYTES = 1 << 18  # a miss that wants the disk waits for one step: 3 ms on a slow one
_FACT = "scrub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A blob to look at, as its row was."""

    digest: bytes
    checked_at_ms: int
    attestation: Attestation


class Scrubber:
    """Looks at the blobs of one store."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        attester: Attester,
        files: Files,
        layout: Layout,
        lock: threading.RLock,
    ) -> None:
        self._catalog = catalog
        self._attester = attester
        self._files = files
        self._layout = layout
        self._lock = lock

    def due(self, until_ms: int, after: Due | None, limit: int) -> list[Due]:
        """Return the next blobs whose last check was at `until_ms` or before. Raises StoreError."""
        behind = (-1, b"") if after is None else (after.checked_at_ms, after.digest)
        rows = self._catalog.index.unchecked(until_ms, behind, limit)
        return [Due(checked_at_ms=at, digest=digest, attestation=a) for at, digest, a in rows]

    def look(self, due: Due, progress: Callable[[int], None]) -> Verdict | None:
        """Hash one blob; None: it is good, and `note` may say so.

        `progress` may raise to end the look. Raises: StoreError when it cannot be told.
        """
        found = judge(
            self._layout.blob(due.digest),
            due.digest,
            files=self._files,
            step_bytes=STEP_BYTES,
            progress=progress,
        )
        if found.fault is not None or found.attestation is None:
            return self._attester.look_again(due.digest)
        if found.attestation == due.attestation:
            return None
        return self._attester.vouch_read(due.digest, found.attestation)

    def note(self, good: Sequence[Due]) -> None:
        """Note these as checked, as far as they are still the same files. Raises StoreError."""
        with self._lock:
            now_ms = self._catalog.now_ms()
            pairs = [(due.digest, due.attestation) for due in good]
            self._catalog.commit(lambda changes: changes.checked(pairs, now_ms))

    def distrust_after(self, at_ms: int) -> None:
        """Count checks that were noted for later than `at_ms` as none: a clock was wrong.

        Raises: StoreError.
        """
        newest_ms = self._catalog.index.newest_check_ms()
        if newest_ms is not None and newest_ms > at_ms:
            with self._lock:
                self._catalog.commit(lambda changes: changes.forget_checks(at_ms))

    def oldest_check_ms(self) -> int | None:
        """Return when the blob checked longest ago was; None without blobs. Raises StoreError."""
        return self._catalog.index.oldest_check_ms()

    def now_ms(self) -> int:
        return self._catalog.now_ms()

    def pass_note(self) -> str:
        """Return what was noted of passes, "" for nothing. Raises StoreError."""
        return self._catalog.index.fact(_FACT)

    def note_pass(self, note: str) -> None:
        """Keep a note of passes beside the blobs. Raises StoreError."""
        with self._lock:
            self._catalog.commit(lambda changes: changes.set_fact(_FACT, note))

    def tell_condemned(self, tell: Callable[[Condemned], None]) -> None:
        """Let `tell` know of every blob that is condemned or missing, whoever found it.

        It is called in the thread that found it and must not wait.
        """
        self._attester.on_condemned = tell

    def __repr__(self) -> str:
        return f"<Scrubber of {self._layout.root}>"
