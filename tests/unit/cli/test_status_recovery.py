"""What `status` prints of repair and loss."""

from __future__ import annotations

from mirror.cli.status_recovery import recovery_lines
from mirror.control.recovery import RecoveryView, add_recovery
from mirror.store.repair import RepairProgress


class _Repair:
    def __init__(self, progress: RepairProgress | None) -> None:
        self._progress = progress

    def progress(self) -> RepairProgress | None:
        return self._progress


def _lines(progress: RepairProgress | None, lost_at: float | None) -> list[str]:
    document: dict[str, object] = {"store": {}, "state": {}}
    add_recovery(document, RecoveryView(repair=_Repair(progress), state_lost_at=lost_at))
    return recovery_lines(document)


def test_nothing_is_printed_when_nothing_was_lost() -> None:
    assert _lines(None, None) == []


def test_a_repair_says_why_and_how_far_it_is() -> None:
    progress = RepairProgress(
        need="rescan", step="blobs", began_at=0.0, blobs_found=7, entries_found=3, rows_dropped=0
    )
    [line] = _lines(progress, None)
    assert "the index was lost" in line
    assert "step blobs, 7 blobs and 3 names found" in line


def test_a_lost_state_database_names_what_went_with_it() -> None:
    [line] = _lines(None, 1_700_000_000.0)
    assert line.startswith("state begun anew on 2023-11-14 22:13 UTC: ledger, newest date")
