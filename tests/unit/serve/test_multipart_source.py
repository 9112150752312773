"""Several parts as one source: the bytes of the laid-out message, however they are read."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.multipart import Multipart, lay_out
from mirror.http.ranges import PartialContent
from mirror.serve.file_pages import WINDOW_BYTES, FilePages
from mirror.serve.multipart_source import GATHER_BYTES, MultipartSource, present
from mirror.serve.sender import Sender, ShortSourceError
from mirror.serve.sources import ContentSource, FileSource
from tests.unit.serve.test_sender import ColdPages, FakeOutlet

CONTENT = os.urandom(700_001)


def layout_of(*ends: tuple[int, int], length: int = len(CONTENT)) -> Multipart:
    parts = [PartialContent(start=start, end=end) for start, end in ends]
    return lay_out(parts, length, b"text/plain", b"boundary")


TINY = layout_of(*((at, at + 10) for at in range(0, 640, 20)))
MIXED = layout_of((600_000, 700_001), (5, 6), (1_000, 500_000), (0, 1))


@given(offset=st.integers(0, MIXED.length), size_bytes=st.integers(1, 2 * WINDOW_BYTES))
def test_a_window_is_what_the_message_has_there(offset: int, size_bytes: int) -> None:
    source = MultipartSource(MIXED, ContentSource(CONTENT))
    window = source.read(offset, size_bytes)
    assert window is not None
    assert len(window) <= size_bytes
    assert bool(window) is (offset < MIXED.length)
    assert window == MIXED.join(CONTENT)[offset : offset + len(window)]
    source.close()


def test_tiny_parts_come_in_one_window() -> None:
    source = MultipartSource(TINY, ContentSource(CONTENT))
    assert TINY.length < GATHER_BYTES
    window = source.read(0, WINDOW_BYTES)
    assert window is not None
    assert bytes(window) == TINY.join(CONTENT)
    source.close()


def test_a_long_stretch_is_the_inner_view_itself() -> None:
    source = MultipartSource(MIXED, ContentSource(CONTENT))
    window = source.read(len(MIXED.heads[0]), WINDOW_BYTES)
    assert window is not None
    assert window.obj is CONTENT
    source.close()


def test_without_a_layout_the_source_is_the_inner_one() -> None:
    inner = ContentSource(CONTENT)
    assert present(None, inner) is inner


@pytest.mark.parametrize("layout", [TINY, MIXED], ids=["tiny", "mixed"])
async def test_a_message_from_a_cold_file_arrives_whole(tmp_path: Path, layout: Multipart) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    pages = ColdPages()
    outlet = FakeOutlet(lambda size: size // 3)
    counted: list[int] = []
    inner = FileSource(pages, os.open(path, os.O_RDONLY))
    sender = Sender(outlet, MultipartSource(layout, inner), 0, counted.append)
    await sender.send(layout.length)
    sender.close()
    assert outlet.received == layout.join(CONTENT)
    assert sum(counted) == layout.length
    assert bool(pages.warmed) is (layout is MIXED)  # the fault fired where there is one


async def test_a_message_goes_on_in_another_source_of_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    outlet = FakeOutlet()
    sender = Sender(outlet, MultipartSource(MIXED, ContentSource(CONTENT)), 0, lambda _: None)
    await sender.send(250_000)
    file = FileSource(FilePages(), os.open(path, os.O_RDONLY))
    sender.replace(present(MIXED, file))
    await sender.send(MIXED.length)
    sender.close()
    assert outlet.received == MIXED.join(CONTENT)


async def test_a_file_that_is_cut_never_completes_the_message(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT[:650_000])
    outlet = FakeOutlet()
    inner = FileSource(FilePages(), os.open(path, os.O_RDONLY))
    sender = Sender(outlet, MultipartSource(MIXED, inner), 0, lambda _: None)
    with pytest.raises(ShortSourceError):
        await asyncio.wait_for(sender.send(MIXED.length), 10)
    sender.close()
    assert outlet.received == MIXED.join(CONTENT)[: len(MIXED.heads[0]) + 50_000]
