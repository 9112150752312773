"""The quarantine is bounded, keeps the newest, and never fails its caller."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mirror.store.layout import Layout
from mirror.store.quarantine import MAX_RECORDS, Quarantine, Reason
from tests.faults.files import FaultFiles


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


def test_bytes_go_when_they_have_lain_there_long_enough(layout: Layout) -> None:
    quarantine = Quarantine(FaultFiles(), layout, 1000, 100.0)
    for at in (1, 50):
        _take(quarantine, layout, at, 10)
    assert quarantine.expire(100.9) == 0
    assert quarantine.expire(101.0) == 1
    assert (len(quarantine), quarantine.used_bytes, len(os.listdir(layout.quarantine))) == (
        1,
        10,
        2,
    )
    assert quarantine.concerns("k")
    assert quarantine.expire(150.0) == 1
    assert (os.listdir(layout.quarantine), quarantine.concerns("k")) == ([], False)


def test_good_object_clears_only_what_came_for_its_key_before_it(layout: Layout) -> None:
    quarantine = Quarantine(FaultFiles(), layout, 1000)
    for at, key in ((1, "a"), (2, "b"), (3, "a")):
        path = f"{layout.root}/bad"
        Path(path).write_bytes(b"x")
        reason = Reason(keys=(key, "c"), expected="", got=f"{at}", length=1, reason="r", at=at)
        quarantine.take(path, reason)
    assert [reason.at for reason in quarantine.clear(["a"], 2)] == [1]
    assert [reason.at for reason in quarantine.clear(["c"], 9)] == [2, 3]
    assert (len(quarantine), quarantine.concerns("a"), quarantine.concerns("c")) == (
        0,
        False,
        False,
    )


def test_same_bytes_twice_in_a_millisecond_are_one_record(layout: Layout) -> None:
    quarantine = Quarantine(FaultFiles(), layout, 1000)
    for key in ("a", "b"):
        path = f"{layout.root}/bad"
        Path(path).write_bytes(b"x")
        reason = Reason(keys=(key,), expected="", got="0", length=1, reason="r", at=1)
        quarantine.take(path, reason)
    assert (len(quarantine), quarantine.clear(["a"], 9)) == (1, [])
    assert len(quarantine.clear(["b"], 9)) == 1


def test_keys_and_reasons_are_known_again_after_a_restart(layout: Layout) -> None:
    first = Quarantine(FaultFiles(), layout, 1000)
    for number in range(12):
        _take(first, layout, number, 5)
    again = Quarantine(FaultFiles(), layout, 1000)
    again.load()
    assert again.concerns("k")
    assert again.summary() == first.summary()
    assert [reason.at for reason in again.summary().newest] == list(range(11, 1, -1))
    assert (again.summary().count, again.summary().oldest_at) == (12, 0)


def test_unreadable_record_still_has_the_age_of_its_name(layout: Layout) -> None:
    name = f"{7000:015d}-none"
    Path(layout.quarantine, name).write_bytes(b"xyz")
    Path(layout.quarantine, name + ".json").write_bytes(b"{")
    Path(layout.quarantine, "stray").write_bytes(b"")
    quarantine = Quarantine(FaultFiles(), layout, 1000, 10.0)
    quarantine.load()
    assert [(r.at, r.length, r.keys) for r in quarantine.summary().newest] == [
        (7.0, 3, ()),
        (0.0, 0, ()),
    ]
    assert quarantine.expire(17.0) == 2
    assert os.listdir(layout.quarantine) == []


def _take_for(quarantine: Quarantine, layout: Layout, key: str, got: str, at: float) -> None:
    path = f"{layout.root}/bad"
    Path(path).write_bytes(b"x" * 400)
    quarantine.take(path, Reason(keys=(key,), expected="", got=got, length=400, reason="r", at=at))


def test_a_repeated_bad_object_does_not_push_out_another(layout: Layout) -> None:
    quarantine = Quarantine(FaultFiles(), layout, 1000)
    _take_for(quarantine, layout, "other", "ab" * 32, 1.0)
    for at in range(2, 50):
        _take_for(quarantine, layout, "k", "cd" * 32, float(at))
    assert (len(quarantine), quarantine.used_bytes) == (2, 800)
    assert [reason.at for reason in quarantine.summary().newest] == [49.0, 1.0]
    assert len(os.listdir(layout.quarantine)) == 4
    assert quarantine.clear(["k"], 49.0)
    assert not quarantine.concerns("k")
    assert quarantine.concerns("other")


def test_unreadable_bytes_and_the_same_bytes_for_another_key_lie_there_each(
    layout: Layout,
) -> None:
    quarantine = Quarantine(FaultFiles(), layout, 10_000)
    for at, (key, got) in enumerate([("a", ""), ("a", ""), ("a", "ab" * 32), ("b", "ab" * 32)]):
        _take_for(quarantine, layout, key, got, float(at))
    assert len(quarantine) == 4
