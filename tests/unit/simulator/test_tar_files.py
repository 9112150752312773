from __future__ import annotations

import gzip
import io
import lzma
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.simulator.tar_files import (
    TarFile,
    gzip_small,
    gzip_stored,
    ustar,
    with_directories,
    xz_stored,
)


@given(st.binary(max_size=300))
def test_stored_forms_decode_to_what_went_in(content: bytes) -> None:
    assert lzma.decompress(xz_stored(content), format=lzma.FORMAT_XZ) == content
    assert gzip.decompress(gzip_stored(content)) == content


@pytest.mark.parametrize("length", [0, 65535, 65536, 65537, 200_001])
def test_xz_chunk_borders_decode(length: int) -> None:
    content = bytes(range(256)) * (length // 256 + 1)
    assert lzma.decompress(xz_stored(content[:length])) == content[:length]


def test_python_reads_the_archive_with_names_modes_and_content() -> None:
    files = [
        TarFile(path="top/bin/run", content=b"#!/bin/sh\n", is_executable=True),
        TarFile(path="top/" + "deep/" * 30 + "file", content=b"x" * 513),
    ]
    content = io.BytesIO(ustar(with_directories(files), modified_at=1000))
    with tarfile.open(fileobj=content) as archive:
        members = {member.name: member for member in archive.getmembers()}
        reader = archive.extractfile(files[1].path)
        assert reader is not None
        assert reader.read() == b"x" * 513
    assert members["top/bin/run"].mode == 0o755
    assert members["top"].isdir()
    assert members["top/bin"].mtime == 1000


def test_each_directory_comes_once_and_before_its_files() -> None:
    files = [TarFile(path="a/b/one"), TarFile(path="a/b/two"), TarFile(path="a/c")]
    paths = [file.path for file in with_directories(files)]
    assert paths == ["a/", "a/b/", "a/b/one", "a/b/two", "a/c"]


def test_small_gzip_is_deterministic() -> None:
    assert gzip_small(b"text" * 100) == gzip_small(b"text" * 100)
    assert len(gzip_small(b"text" * 100)) < 100
