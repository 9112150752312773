"""What `status` shows of repair and loss, only while there is something to say.

Units: `_at` Unix seconds.
Runs in: keeper.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

from mirror.store.repair import RepairProgress


class RepairView(Protocol):
    """`store.repair.Repair`."""

    def progress(self) -> RepairProgress | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryView:
    """`state_lost_at` None: the state database is the one that has always been here."""

    repair: RepairView
    state_lost_at: float | None


def add_recovery(document: dict[str, Any], view: RecoveryView) -> None:
    """Add to the sections `store` and `state`."""
    progress = view.repair.progress()
    if progress is not None:
        document["store"]["repair"] = asdict(progress)
    if view.state_lost_at is not None:
        document["state"]["lost_at"] = view.state_lost_at
