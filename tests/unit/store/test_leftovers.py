"""Files that the disk refuses to remove: not forgotten, and gone when it lets them go."""

from __future__ import annotations

import errno
import os

import pytest

from mirror.errors import StoreError
from mirror.store.budget import footprint
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, end_process, publish, put, sha256

BODY = b"crate" * 500


class StubbornFiles(FaultFiles):
    """Below `kept`, when that is set, no file goes; and no name of a blob becomes durable."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = ""

    def unlink(self, path: str) -> None:
        if self.kept and self.kept in path and os.path.exists(path):
            raise OSError(errno.EIO, path)
        super().unlink(path)

    def sync_directory(self, path: str) -> None:
        if self.kept == "/blobs/" and path.rpartition("/blobs/")[2].count("/") == 1:
            raise OSError(errno.EIO, path)
        super().sync_directory(path)


def test_a_blob_that_could_not_be_taken_back_is_counted_by_the_next_start(bench: Bench) -> None:
    files = StubbornFiles()
    store = bench.open(files)
    files.kept = "/blobs/"
    with pytest.raises(StoreError):
        put(store, "crates:/a", b"a")
    end_process(store, files)
    store = bench.open()
    assert set(bench.blob_files()) == {sha256(b"a").hex()}
    assert store.used_bytes == footprint(1)
    store.close()


def test_the_temp_of_content_that_is_here_already_goes_when_the_disk_allows(bench: Bench) -> None:
    files = StubbornFiles()
    store = bench.open(files)
    put(store, "crates:/a", BODY)
    files.kept = "/partial/"
    publish(store, "crates:/b", BODY)
    assert os.listdir(bench.layout.partials)
    assert not store.trouble.is_storing
    files.kept = ""
    store.probe()
    assert os.listdir(bench.layout.partials) == []
    store.close()
