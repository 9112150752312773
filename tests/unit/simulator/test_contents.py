from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.simulator.contents import (
    BLOCK_BYTES,
    Content,
    FileContent,
    FixedContent,
    KeyedContent,
    LazyContent,
    digest_line,
)

_LENGTH = 3 * BLOCK_BYTES + 17
_WHOLE = KeyedContent(1, "big", _LENGTH).read(0, _LENGTH)


@given(st.integers(0, _LENGTH), st.integers(0, _LENGTH))
def test_any_range_of_keyed_content_is_a_slice_of_the_whole(one: int, other: int) -> None:
    start, end = min(one, other), max(one, other)
    assert KeyedContent(1, "big", _LENGTH).read(start, end) == _WHOLE[start:end]


def test_keyed_content_differs_by_name_and_seed_and_block() -> None:
    heads = {
        KeyedContent(1, "a", BLOCK_BYTES).read(0, 64),
        KeyedContent(1, "b", BLOCK_BYTES).read(0, 64),
        KeyedContent(2, "a", BLOCK_BYTES).read(0, 64),
        KeyedContent(1, "a", 2 * BLOCK_BYTES).read(BLOCK_BYTES, BLOCK_BYTES + 64),
    }
    assert len(heads) == 4


def test_keyed_content_has_a_multipart_entity_tag() -> None:
    assert KeyedContent(1, "a", 20 << 20).etag.endswith('-3"')


def test_fixed_content_has_the_md5_entity_tag_of_s3() -> None:
    expected = hashlib.md5(b"hello", usedforsecurity=False).hexdigest()
    assert FixedContent(b"hello").etag == f'"{expected}"'


def test_digest_is_that_of_all_blocks_together() -> None:
    assert KeyedContent(1, "big", _LENGTH).sha256 == hashlib.sha256(_WHOLE).digest()


def test_lazy_content_is_made_once_and_only_when_needed() -> None:
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return b"late"

    content = LazyContent(make)
    assert not made
    assert (content.length, content.read(1, 3)) == (4, b"at")
    assert len(made) == 1


def test_file_content_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rustup"
    path.write_bytes(b"binary")
    content = FileContent(path)
    assert (content.length, content.read(0, 3)) == (6, b"bin")


def test_digest_line_is_what_sha256sum_prints() -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    assert digest_line(FixedContent(b"x"), " name") == f"{digest}  name\n".encode()


@pytest.mark.parametrize("length", [0, 1, BLOCK_BYTES])
def test_blocks_cover_the_content(length: int) -> None:
    content: Content = KeyedContent(1, "x", length)
    assert sum(len(block) for block in content.blocks()) == length


def test_thousands_of_contents_share_one_block() -> None:
    KeyedContent(1, "first", 1)
    tracemalloc.start()
    try:
        contents = [KeyedContent(1, f"big-{number}", BLOCK_BYTES) for number in range(1000)]
        used_bytes, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used_bytes < len(contents) * 1024
