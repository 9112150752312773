"""`mirror.accounting.counter_files`: what is left out is told, and only what is done is removed."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from mirror.accounting.counter_files import MAX_COUNT, read_counter_files, remove_rolled_up
from mirror.accounting.counters import CounterFile, Counters, read_counters
from mirror.accounting.layout import layout_of

LAYOUT = layout_of()


def read(path: str | Path) -> CounterFile:
    found = read_counters(str(path))
    assert found is not None
    return found


def closed_file(state: Path, *, count: int = 1) -> CounterFile:
    counters = Counters.open(str(state), 0, LAYOUT)
    counters.view[0] += count
    counters.close()
    return read(counters.path)


def test_a_file_that_nobody_uses_is_removed(tmp_path: Path) -> None:
    file = closed_file(tmp_path)
    assert remove_rolled_up(file)
    assert not os.path.exists(file.path)
    assert not remove_rolled_up(file)


def test_a_file_in_use_stays(tmp_path: Path) -> None:
    counters = Counters.open(str(tmp_path), 0, LAYOUT)
    assert not remove_rolled_up(read(counters.path))
    counters.close()
    assert remove_rolled_up(read(counters.path))


def test_a_file_that_says_more_than_the_ledger_took_in_stays(tmp_path: Path) -> None:
    rolled_up = closed_file(tmp_path)
    assert closed_file(tmp_path).cells[0] == 2
    assert not remove_rolled_up(rolled_up)
    assert read(rolled_up.path).cells[0] == 2


def test_another_file_at_the_path_stays(tmp_path: Path) -> None:
    rolled_up = closed_file(tmp_path)
    os.unlink(rolled_up.path)
    made_again = closed_file(tmp_path)
    assert not remove_rolled_up(rolled_up)
    assert read(made_again.path) == made_again


def test_what_is_no_file_any_more_stays(tmp_path: Path) -> None:
    file = closed_file(tmp_path)
    os.unlink(file.path)
    os.mkdir(file.path)
    assert not remove_rolled_up(file)
    os.rmdir(file.path)
    os.symlink(tmp_path / "elsewhere", file.path)
    assert not remove_rolled_up(file)
    assert os.path.islink(file.path)


def test_a_worker_that_opened_a_file_before_its_removal_counts_into_another(tmp_path: Path) -> None:
    """The interleaving of rule 3: the worker's lock comes after the keeper's unlink."""
    file = closed_file(tmp_path)
    with open(file.path, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        worker = Counters.open(str(tmp_path), 0, LAYOUT)  # the keeper has the lock
        assert worker.path == f"{file.path}.1"
        worker.close()
    assert remove_rolled_up(file)
    worker = Counters.open(str(tmp_path), 0, LAYOUT)
    worker.view[0] += 1
    worker.close()
    assert (worker.path, read(worker.path).cells[0]) == (file.path, 1)
    assert read(worker.path).id != file.id


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda path: path.write_bytes(b"x" * 4096), "is not a counters", id="damaged"),
        pytest.param(lambda path: shutil.copy(f"{path}.0", path), "is a copy of", id="copied"),
        pytest.param(lambda path: path.mkdir(), "Is a directory", id="directory"),
    ],
)
def test_a_file_that_cannot_be_counted_is_told_and_the_others_count(
    tmp_path: Path, spoil: object, reason: str
) -> None:
    closed_file(tmp_path, count=5)
    os.rename(tmp_path / "counters.0", tmp_path / "counters.1.0")
    assert callable(spoil)
    spoil(tmp_path / "counters.1")
    found = read_counter_files(str(tmp_path))
    (refused,) = found.refused
    assert reason in str(refused)
    assert [file.cells[0] for file in found.files] == [5]


def test_impossible_counts_are_refused(tmp_path: Path) -> None:
    closed_file(tmp_path, count=MAX_COUNT + 1)
    found = read_counter_files(str(tmp_path))
    assert found.files == ()
    assert "counts more than there can be" in str(found.refused[0])
    assert found.refused[0].hint


def test_without_a_directory_there_are_no_files(tmp_path: Path) -> None:
    found = read_counter_files(str(tmp_path / "absent"))
    assert (list(found.files), list(found.refused)) == ([], [])
