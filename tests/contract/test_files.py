"""The Files Protocol: the real file system and the faulty one keep the same promises."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.store.files import (
    Files,
    RealFiles,
    disk_errors,
    read_all,
    replace_file,
    unlink_if_there,
    write_all,
)
from tests.faults.files import DeadProcessError, FaultFiles, PowerCutFiles


def _real(_: Path) -> Files:
    return RealFiles()


def _faulty(_: Path) -> Files:
    return FaultFiles()


def _power_cut(root: Path) -> Files:
    (root / "attic").mkdir()
    return PowerCutFiles(str(root / "attic"))


@pytest.fixture(params=[_real, _faulty, _power_cut], ids=["real", "fault", "power-cut"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    make: Callable[[Path], Files] = request.param
    return make(tmp_path)


def test_create_refuses_an_existing_file(files: Files, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    files.close(files.create(path))
    with pytest.raises(FileExistsError):
        files.create(path)


def test_what_is_written_is_read_back(files: Files, tmp_path: Path) -> None:
    fd = files.create(str(tmp_path / "a"))
    write_all(files, fd, b"hello", 0)
    write_all(files, fd, memoryview(b"there"), 5)
    files.sync(fd)
    assert files.pread(fd, 100, 3) == b"lothere"
    assert files.identify(fd).size == 10
    files.truncate(fd, 4)
    assert files.pread(fd, 100, 0) == b"hell"
    files.close(fd)


@pytest.mark.parametrize("method", ["open_read", "resume", "identify_path"])
def test_a_symbolic_link_is_not_followed(files: Files, tmp_path: Path, method: str) -> None:
    (tmp_path / "target").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError):
        getattr(files, method)(str(tmp_path / "link"))


def test_a_fifo_in_a_files_place_does_not_block_and_is_refused(
    files: Files, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    fd = files.open_read(str(tmp_path / "fifo"))
    with pytest.raises(OSError) as caught:
        files.identify(fd)
    files.close(fd)
    assert caught.value.errno == errno.ENXIO


def test_rename_changes_ctime_and_keeps_inode(files: Files, tmp_path: Path) -> None:
    fd = files.create(str(tmp_path / "a"))
    before = files.identify(fd)
    files.rename(str(tmp_path / "a"), str(tmp_path / "b"))
    after = files.identify(fd)
    files.close(fd)
    assert after.inode == before.inode
    assert files.identify_path(str(tmp_path / "b")) == after


def test_make_directory_says_whether_it_made_one(files: Files, tmp_path: Path) -> None:
    assert files.make_directory(str(tmp_path / "d"), 0o755)
    assert not files.make_directory(str(tmp_path / "d"), 0o755)
    files.sync_directory(str(tmp_path / "d"))
    assert files.list_directory(str(tmp_path / "d")) == []


def test_a_second_lock_is_refused_until_the_first_is_closed(files: Files, tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first = files.lock(path)
    with pytest.raises(BlockingIOError):
        files.lock(path)
    files.close(first)
    files.close(files.lock(path))


def test_replace_file_leaves_the_whole_content_and_no_temp(files: Files, tmp_path: Path) -> None:
    path = str(tmp_path / "record")
    replace_file(files, path, b"one", durable=True)
    (tmp_path / "record.tmp").write_bytes(b"left by a crash")
    replace_file(files, path, b"two", durable=False)
    assert read_all(files, path, 100) == b"two"
    assert not (tmp_path / "record.tmp").exists()


def test_read_all_refuses_what_is_longer_than_its_limit(files: Files, tmp_path: Path) -> None:
    replace_file(files, str(tmp_path / "a"), b"12345", durable=False)
    with pytest.raises(OSError) as caught:
        read_all(files, str(tmp_path / "a"), 4)
    assert caught.value.errno == errno.EFBIG


def test_unlink_if_there_is_silent_about_absence_only(files: Files, tmp_path: Path) -> None:
    unlink_if_there(files, str(tmp_path / "nothing"))
    (tmp_path / "d").mkdir()
    with pytest.raises(OSError):
        unlink_if_there(files, str(tmp_path / "d"))


def test_free_bytes_is_a_plausible_number(files: Files, tmp_path: Path) -> None:
    assert files.free_bytes(str(tmp_path)) > 0


def test_disk_errors_become_store_errors_with_a_hint() -> None:
    with pytest.raises(StoreError, match="the disk is full") as caught, disk_errors("blobs"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (caught.value.source, caught.value.status) == ("blobs", 503)


def test_short_writes_are_continued(tmp_path: Path) -> None:
    files = FaultFiles()
    files.longest_write = 3
    fd = files.create(str(tmp_path / "a"))
    write_all(files, fd, b"0123456789", 0)
    files.close(fd)
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_a_file_that_takes_nothing_is_an_error_not_a_loop(tmp_path: Path) -> None:
    files = FaultFiles()
    files.longest_write = 0
    fd = files.create(str(tmp_path / "a"))
    with pytest.raises(OSError):
        write_all(files, fd, b"x", 0)
    files.close(fd)


def test_the_fault_fires_at_its_call_and_is_counted(tmp_path: Path) -> None:
    files = FaultFiles()
    files.fail_at(2, errno.EIO)
    files.make_directory(str(tmp_path / "a"), 0o755)
    with pytest.raises(OSError) as caught:
        files.make_directory(str(tmp_path / "b"), 0o755)
    files.make_directory(str(tmp_path / "c"), 0o755)
    assert (caught.value.errno, files.fired) == (errno.EIO, 1)


def test_a_dead_process_does_nothing_more(tmp_path: Path) -> None:
    files = FaultFiles()
    files.die_at(1)
    for _ in range(2):
        with pytest.raises(DeadProcessError):
            files.make_directory(str(tmp_path / "a"), 0o755)
    assert not (tmp_path / "a").exists()


def test_a_power_cut_takes_unsynced_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "attic").mkdir()
    (tmp_path / "d").mkdir()
    files = PowerCutFiles(str(tmp_path / "attic"))
    kept = files.create(str(tmp_path / "d" / "kept"))
    files.pwrite(kept, b"kept", 0)
    files.sync(kept)
    hollow = files.create(str(tmp_path / "d" / "hollow"))
    files.pwrite(hollow, b"hollow", 0)
    files.sync_directory(str(tmp_path / "d"))
    files.rename(str(tmp_path / "d" / "kept"), str(tmp_path / "d" / "renamed"))
    files.create(str(tmp_path / "d" / "lost"))
    files.cut()
    assert sorted(os.listdir(tmp_path / "d")) == ["hollow", "kept"]
    assert (tmp_path / "d" / "kept").read_bytes() == b"kept"
    assert (tmp_path / "d" / "hollow").read_bytes() == b"\0" * 6
