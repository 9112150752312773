"""What `rust-mirror status` prints of repair and loss.

Runs in: commands.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_NEEDS = {
    "rescan": "the index was lost: the stored files are found again",
    "check": "after a power cut: index and files are compared",
}
_LOST = (
    "state begun anew on {day}: ledger, newest date per channel and histories of crates from before"
    " are lost (restore state.db from a backup to have them)"
)


def recovery_lines(document: dict[str, Any]) -> list[str]:
    """Return nothing when nothing was lost and nothing is being repaired."""
    lines: list[str] = []
    repair = document["store"].get("repair")
    if repair is not None:
        lines.append(
            f"store REPAIR, {_NEEDS.get(repair['need'], repair['need'])}: step {repair['step']},"
            f" {repair['blobs_found']} blobs and {repair['entries_found']} names found; what is"
            " asked for is served, new bodies are kept only where the disk has room beyond doubt"
        )
    lost_at = document.get("state", {}).get("lost_at")
    if lost_at is not None:
        day = datetime.fromtimestamp(lost_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        lines.append(_LOST.format(day=day))
    return lines
