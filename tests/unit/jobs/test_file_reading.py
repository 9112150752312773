"""Files are read whole, a changing one is told, and the page cache stays as it was."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from mirror.jobs.file_reading import STEP_BYTES, ChangedError, hash_file, identify, read_pieces


@pytest.mark.parametrize("size", [0, 1, STEP_BYTES - 1, STEP_BYTES, 2 * STEP_BYTES + 7])
def test_digest_is_that_of_all_bytes_and_progress_adds_up(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    content = os.urandom(size)
    file.write_bytes(content)
    steps: list[int] = []
    assert hash_file(str(file), steps.append) == hashlib.sha256(content).digest()
    assert sum(steps) == size


def test_file_that_grows_while_it_is_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(STEP_BYTES + 1))

    def grow(_: int) -> None:
        with file.open("ab") as opened:
            opened.write(b"x")

    with pytest.raises(ChangedError):
        hash_file(str(file), grow)


def test_absent_file_and_directory_have_no_identity(tmp_path: Path) -> None:
    assert identify(str(tmp_path / "absent")) is None
    assert identify(str(tmp_path)) is None
    with pytest.raises(FileNotFoundError):
        hash_file(str(tmp_path / "absent"))


def test_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="symbolic"):
        list(read_pieces(str(tmp_path / "link")))


def cached_bytes(file: Path) -> int:
    """Return how much of a file is in the page cache, as `fincore` says."""
    try:
        told = subprocess.run(
            ["fincore", "--bytes", "--noheadings", "--output", "RES", str(file)],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("fincore of util-linux is absent: it tells what is in the page cache")
    return int(told.stdout)


def dropped(file: Path) -> None:
    fd = os.open(file, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    if cached_bytes(file):
        pytest.skip("this file system keeps its pages in memory whatever it is told")


def test_reading_brings_nothing_into_the_page_cache(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(8 * STEP_BYTES))
    dropped(file)
    hash_file(str(file))
    assert cached_bytes(file) == 0


def test_what_was_in_the_page_cache_stays_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(8 * STEP_BYTES))
    dropped(file)
    with file.open("rb", buffering=0) as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        opened.seek(2 * STEP_BYTES)
        opened.read(2 * STEP_BYTES)
    before = cached_bytes(file)
    assert before >= 2 * STEP_BYTES
    hash_file(str(file))
    assert cached_bytes(file) == before
