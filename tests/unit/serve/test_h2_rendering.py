"""Answers in pieces, put together with a stream's identifier: read by another implementation."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import hpack
import pytest
from hyperframe.frame import DataFrame, HeadersFrame

from mirror.http.h2_blocks import HeadEncoder
from mirror.http.h2_frames import MAX_FRAME_BYTES
from mirror.serve.h2_rendering import frames_of, not_modified_of, tags_of, whole_of
from mirror.serve.hot_entry import SMALL_BYTES, H2Rendering, HotEntry
from tests.unit.http.h2_peer import parse
from tests.unit.serve.fakes import INDEX_KEY, INDEX_TARGET, running_worker

ID = struct.pack(">L", 7)


def hot_entry(folder: Path, content: bytes) -> HotEntry:
    async def ask() -> HotEntry:
        async with running_worker(folder) as bench:
            bench.reader.keep(INDEX_KEY, content)
            answer = await bench.get(INDEX_TARGET)
            assert answer.content == content
            found = bench.worker._shared.hot.get(INDEX_KEY)
            assert found is not None
            found.render("hit", bench.clock.now())
            return found

    return asyncio.run(ask())


def joined(made: H2Rendering) -> bytes:
    return b"".join(frames_of(made, ID)) if made.views else ID.join(made.pieces)


def fields_of(frame: HeadersFrame) -> dict[str, str]:
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    return {str(name): str(value) for name, value in decoder.decode(frame.data)}


@pytest.mark.parametrize(
    "size",
    [0, 1, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1, 2 * MAX_FRAME_BYTES, 40_000, SMALL_BYTES],
)
def test_frames_say_status_fields_and_content(size: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    made = whole_of(hot_entry(tmp_path, content), HeadEncoder())
    assert made is not None
    head, *parts = parse(joined(made))
    assert isinstance(head, HeadersFrame)
    assert (fields_of(head)[":status"], fields_of(head)["content-length"]) == ("200", str(size))
    assert all(isinstance(part, DataFrame) and part.stream_id == 7 for part in parts)
    assert b"".join(part.data for part in parts if isinstance(part, DataFrame)) == content
    ends = ["END_STREAM" in frame.flags for frame in (head, *parts)]
    assert ends == [*[False] * len(parts), True]
    assert made.rendering.head_bytes == len(head.serialize())
    assert made.rendering.content_bytes == size


def test_304_is_one_frame(tmp_path: Path) -> None:
    hot = hot_entry(tmp_path, b"content")
    made = not_modified_of(hot, HeadEncoder())
    assert made is not None
    [head] = parse(joined(made))
    assert isinstance(head, HeadersFrame)
    assert (fields_of(head)[":status"], "END_STREAM" in head.flags) == ("304", True)
    assert made.rendering.bare_head_bytes == len(head.serialize())
    assert fields_of(head)["etag"] == hot.representation.etag.decode()


def test_rendering_is_made_anew_only_for_another_second(tmp_path: Path) -> None:
    hot, heads = hot_entry(tmp_path, b"content"), HeadEncoder()
    first = whole_of(hot, heads)
    assert whole_of(hot, heads) is first
    hot.render("hit", 1_800_000_001.0)
    again = whole_of(hot, heads)
    assert again is not first
    assert again is not None
    assert again.source is hot.rendering


def test_large_content_has_no_rendering(tmp_path: Path) -> None:
    assert whole_of(hot_entry(tmp_path, b"x" * (SMALL_BYTES + 1)), HeadEncoder()) is None


def test_tags_are_what_clients_write(tmp_path: Path) -> None:
    hot = hot_entry(tmp_path, b"content")
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    for literal, huffman in zip(tags_of(hot), (True, False), strict=True):
        block = encoder.encode([(b"x", hot.representation.etag)], huffman=huffman)
        assert block.endswith(literal)
