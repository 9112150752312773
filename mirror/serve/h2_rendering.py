"""A hot entry's answers as HTTP/2 sends them, made once for each of its renderings.

Rules:
1. An answer is kept in pieces between which only the stream's identifier is missing, so that the
   identifier joins them: `stream_id.join(pieces)` (measured: 0.3 us for 2 KB; the frames of a
   response that is encoded and cut for itself take 9).
2. Its field block has no dynamic table (`h2_blocks`), so it is the same for all clients.
3. Of content nothing is kept twice but its first frame, where there are more: the others are views
   of the entry's own bytes.
4. Each of the two answers is made when it is first asked for in a second (measured: 3 us each; of
   10,000 objects that are asked for in turn, most of what a request costs is rendering).

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

from typing import Final

from mirror.http.h2_blocks import HeadEncoder, encode_lines, encode_status
from mirror.http.h2_context_free import string_literal
from mirror.http.h2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    MAX_FRAME_BYTES,
    frame_head,
)
from mirror.http.h2_huffman import encode
from mirror.serve.hot_entry import SMALL_BYTES, H2Rendering, HotEntry, Lines

_ID_AT: Final = 5  # where a frame's head has the stream's identifier, which ends it
_OK: Final = 200
_NOT_MODIFIED: Final = 304
_FRAME_HEAD: Final = bytes(HEAD_BYTES)


def whole_of(hot: HotEntry, heads: HeadEncoder) -> H2Rendering | None:
    """Return the 200 of `hot`, which was rendered; None for large content."""
    made, content = hot.h2, hot.content
    if made is not None and made.source is hot.rendering:
        return made
    if not isinstance(content, bytes) or len(content) > SMALL_BYTES or not hot.head:
        return None
    block = _block(hot, _OK, hot.lines, heads)
    made = hot.h2 = _made(hot, block, content, (_FRAME_HEAD + block, b""))
    return made


def not_modified_of(hot: HotEntry, heads: HeadEncoder) -> H2Rendering | None:
    """Return the 304 of `hot`, which was rendered."""
    made = hot.h2_bare
    if made is not None and made.source is hot.rendering:
        return made
    if not hot.not_modified:
        return None
    block = _block(hot, _NOT_MODIFIED, hot.bare_lines, heads)
    made = hot.h2_bare = _made(hot, block, b"", (b"", _FRAME_HEAD + block))
    return made


def tags_of(hot: HotEntry) -> tuple[bytes, ...]:
    """Return the entity tag as literals, plain and in the Huffman code: what clients write."""
    if not hot.h2_tags:
        etag = hot.representation.etag
        hot.h2_tags = (
            string_literal(encode(etag), is_coded=True),
            string_literal(etag, is_coded=False),
        )
    return hot.h2_tags


def _block(hot: HotEntry, status: int, lines: Lines, heads: HeadEncoder) -> bytes:
    """What stays is kept with the entry: there are as many of it as objects."""
    date, steady, state, via = lines
    source, encoded = hot.h2_steady.get(status, (b"", b""))
    if source is not steady:
        encoded = encode_lines(steady)
        hot.h2_steady[status] = steady, encoded
    return b"".join(
        (encode_status(status), heads.lines(date), encoded, heads.lines(state), heads.lines(via))
    )


def frames_of(made: H2Rendering, stream_id: bytes) -> list[bytes | memoryview]:
    """Return the frames of an answer that has `views`, in parts."""
    parts: list[bytes | memoryview] = [stream_id.join(made.pieces)]
    for head, view in made.views:
        parts += (head + stream_id, view)
    return parts


def _made(hot: HotEntry, block: bytes, content: bytes, heads: tuple[bytes, bytes]) -> H2Rendering:
    begins = [_head(len(block), HEADERS, END_HEADERS if content else END_HEADERS | END_STREAM)]
    first, size = content[:MAX_FRAME_BYTES], len(content)
    if content:
        begins += (block + _head(len(first), DATA, END_STREAM if first == content else 0), first)
    else:
        begins.append(block)
    views: list[tuple[bytes, memoryview]] = []
    for at in range(MAX_FRAME_BYTES, size, MAX_FRAME_BYTES):
        part = memoryview(content)[at : at + MAX_FRAME_BYTES]
        flags = END_STREAM if at + len(part) == size else 0
        views.append((_head(len(part), DATA, flags), part))
    return H2Rendering(hot.rendering, tuple(begins), tuple(views), heads)


def _head(size_bytes: int, type_: int, flags: int) -> bytes:
    """A frame's head without the stream's identifier, which ends it."""
    return frame_head(size_bytes, type_, flags, 0)[:_ID_AT]
