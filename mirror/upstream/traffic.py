"""What upstream traffic is reported to: a Protocol, so that this room knows no ledger.

Units: bytes of content as received (before any content coding is undone).
Runs in: keeper.
"""

from __future__ import annotations

from typing import Protocol


class TrafficLine(Protocol):
    """The line of the ledger that one request belongs to."""

    def request(self) -> None: ...

    def received(self, content_bytes: int) -> None: ...

    def not_modified(self) -> None: ...


class TrafficMeter(Protocol):
    def line(self, pool: str, path: str) -> TrafficLine:
        """Return the line for a path of a pool ("releases", "crates", "index"); never raises."""
        ...
