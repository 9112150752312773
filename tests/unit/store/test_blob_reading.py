"""Files are read whole, a changing one is told, and the page cache stays as it was."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from mirror.store.blob_reading import (
    STEP_BYTES,
    ChangedError,
    Fault,
    identify,
    judge,
    read_pieces,
)
from tests.faults.files import FaultFiles


@pytest.mark.parametrize("size", [0, 1, STEP_BYTES - 1, STEP_BYTES, 2 * STEP_BYTES + 7])
def test_digest_is_that_of_all_bytes_and_progress_adds_up(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    content = os.urandom(size)
    file.write_bytes(content)
    steps: list[int] = []
    digest = hashlib.sha256(content).digest()
    found = judge(str(file), digest, progress=steps.append)
    assert (found.fault, found.got) == (None, digest)
    assert found.attestation == identify(str(file))
    assert sum(steps) == size
    assert b"".join(read_pieces(str(file))) == content


def test_other_content_is_told_with_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"other")
    found = judge(str(file), bytes(32))
    assert found.fault is Fault.OTHER_CONTENT
    assert found.got == hashlib.sha256(b"other").digest()


def test_file_that_grows_while_it_is_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(STEP_BYTES + 1))

    def grow(_: int) -> None:
        with file.open("ab") as opened:
            opened.write(b"x")

    assert judge(str(file), bytes(32), progress=grow).fault is Fault.MOVING
    pieces = read_pieces(str(file))
    next(pieces)
    grow(0)
    with pytest.raises(ChangedError):
        list(pieces)


def test_file_cut_while_it_is_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(2 * STEP_BYTES))

    def cut(_: int) -> None:
        os.truncate(file, STEP_BYTES)

    assert judge(str(file), bytes(32), progress=cut).fault is Fault.MOVING


def test_bad_sector_makes_a_file_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    files = FaultFiles()
    files.damaged.add(str(file))
    for is_aside in (False, True):
        found = judge(str(file), bytes(32), files=files, is_aside=is_aside)
        assert found.fault is Fault.UNREADABLE
        assert found.error is not None
        assert found.error.errno == errno.EIO
    assert not files.open_files


def test_absent_file_and_directory_have_no_identity(tmp_path: Path) -> None:
    assert identify(str(tmp_path / "absent")) is None
    assert identify(str(tmp_path)) is None
    assert judge(str(tmp_path / "absent"), bytes(32)).fault is Fault.ABSENT
    assert judge(str(tmp_path), bytes(32)).fault is Fault.UNREADABLE


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
    judge(str(file), bytes(32))
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
    judge(str(file), bytes(32))
    assert cached_bytes(file) == before
