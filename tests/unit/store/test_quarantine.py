"""The quarantine is bounded, keeps the newest, and never fails its caller."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mirror.store.layout import Layout
from mirror.store.quarantine import MAX_RECORDS, Quarantine, Reason
from tests.faults import FaultFiles


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "quarantine").mkdir()
    return Layout(root=str(tmp_path))


def _take(quarantine: Quarantine, layout: Layout, number: int, size: int) -> str:
    path = f"{layout.root}/bad"
    Path(path).write_bytes(b"x" * size)
    quarantine.take(
        path,
        Reason(keys=("k",), expected="", got=f"{number:016x}", length=size, reason="r", at=number),
    )
    assert not os.path.exists(path)
    return f"{number * 1000:015d}-{number:016x}"


def test_the_oldest_go_when_the_budget_is_passed(layout: Layout) -> None:
    quarantine = Quarantine(FaultFiles(), layout, 1000)
    names = [_take(quarantine, layout, number, 400) for number in range(5)]
    found = sorted(os.listdir(layout.quarantine))
    assert found == sorted([n for name in names[-2:] for n in (name, name + ".json")])
    assert (quarantine.used_bytes, len(quarantine)) == (800, 2)


def test_bytes_beyond_the_whole_budget_leave_only_their_reason(layout: Layout) -> None:
    quarantine = Quarantine(FaultFiles(), layout, 1000)
    name = _take(quarantine, layout, 1, 1001)
    assert os.listdir(layout.quarantine) == [name + ".json"]
    assert quarantine.used_bytes == 0


def test_the_number_of_records_is_bounded(layout: Layout) -> None:
    quarantine = Quarantine(FaultFiles(), layout, 1000)
    for number in range(MAX_RECORDS + 5):
        _take(quarantine, layout, number, 0)
    assert len(quarantine) == MAX_RECORDS
    assert len(os.listdir(layout.quarantine)) == 2 * MAX_RECORDS


def test_what_lies_there_counts_after_a_restart(layout: Layout) -> None:
    first = Quarantine(FaultFiles(), layout, 1000)
    for number in range(2):
        _take(first, layout, number, 400)
    again = Quarantine(FaultFiles(), layout, 500)
    again.load()
    assert (again.used_bytes, len(again)) == (400, 1)


def test_a_disk_that_takes_nothing_loses_the_bytes_not_the_caller(layout: Layout) -> None:
    for call in range(1, 9):
        files = FaultFiles()
        quarantine = Quarantine(files, layout, 1000)
        files.fail_at(call, errno.ENOSPC)
        path = f"{layout.root}/bad"
        Path(path).write_bytes(b"x")
        quarantine.take(
            path, Reason(keys=(), expected="", got="", length=1, reason="r", at=float(call))
        )
