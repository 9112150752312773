"""What the store reports of its own doing: a Protocol, so that this room knows no counters.

Units: bytes as footprints (`budget`), so that what was published minus what was evicted is what is
used. Calls come from any thread, after the commit that makes them true, and must not wait.
Runs in: keeper.
"""

from __future__ import annotations

from typing import Protocol


class StoreTally(Protocol):
    def published(self, blobs: int, footprint_bytes: int) -> None: ...

    def evicted(self, blobs: int, footprint_bytes: int) -> None: ...

    def quarantined(self) -> None: ...


class NoTally:
    """For a store that nobody counts: commands, tests."""

    def published(self, blobs: int, footprint_bytes: int) -> None: ...

    def evicted(self, blobs: int, footprint_bytes: int) -> None: ...

    def quarantined(self) -> None: ...
