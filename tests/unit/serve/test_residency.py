"""What is in the page cache is known before it is sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mirror.serve.file_pages import FilePages
from mirror.serve.residency import Residency

LENGTH = 3_000_001


@pytest.fixture(params=[True, False], ids=["cachestat", "bytes"])
def residency(request: pytest.FixtureRequest) -> Residency:
    return Residency(has_cachestat=request.param)


@pytest.fixture
def fd(tmp_path: Path) -> int:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(LENGTH))
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.pread(fd, LENGTH, 0)
    return fd


def makes_cold(fd: int, offset: int = 0, size_bytes: int = 0) -> bool:
    """Drop pages; False where the file system keeps all in memory."""
    os.posix_fadvise(fd, offset, size_bytes, os.POSIX_FADV_DONTNEED)
    try:
        os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@pytest.mark.parametrize(
    ("offset", "size_bytes"),
    [(0, 1), (0, 4096), (4095, 2), (1, 262_144), (100_000, 1 << 20), (0, LENGTH), (LENGTH - 1, 1)],
)
def test_what_was_read_is_resident(
    residency: Residency, fd: int, offset: int, size_bytes: int
) -> None:
    assert residency.holds(fd, offset, size_bytes)
    os.close(fd)


def test_what_is_cold_is_not(residency: Residency, fd: int) -> None:
    if not makes_cold(fd):
        pytest.skip("this file system keeps its files in memory")
    assert not residency.holds(fd, 0, 262_144)
    assert not residency.holds(fd, LENGTH - 10, 10)
    os.close(fd)


def test_hole_of_the_cache_is_seen(residency: Residency, fd: int) -> None:
    """Both edges are there, the middle is not."""
    if not makes_cold(fd):
        pytest.skip("this file system keeps its files in memory")
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # reads bring in nothing more
    os.pread(fd, 4096, 0)
    os.pread(fd, 4096, 1 << 20)
    assert not residency.holds(fd, 0, (1 << 20) + 4096)
    os.close(fd)


def test_what_the_kernel_refuses_is_asked_in_another_way(fd: int) -> None:
    residency = Residency()
    residency._syscall = lambda *_: -1  # as a seccomp filter answers
    assert residency.holds(fd, 0, 1 << 20)
    assert repr(residency) == "<Residency by reading bytes>"
    os.close(fd)


def test_file_system_without_nowait_is_read_and_never_sent(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.preadv

    def preadv(fd: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(95, "not supported")
        return plain(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    pages = FilePages()
    assert not pages.is_resident(fd, 0, 4096)
    assert pages.read(fd, 0, 100) is not None
    assert not pages.is_resident(fd, 0, 4096)
    pages.close()
    os.close(fd)


def test_nothing_is_resident_of_a_descriptor_that_cannot_be_read(residency: Residency) -> None:
    assert not residency.holds(-1, 0, 10)
