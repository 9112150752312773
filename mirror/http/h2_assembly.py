"""Field blocks put together from HEADERS and CONTINUATION frames (RFC 9113 section 4.3).

Rules:
1. Nothing comes between the frames of one block; the session asks `is_open` before each frame.
2. The bytes and the frames of a block are limited before they are kept (CVE-2024-27316), and
   frames that add nothing are counted.

Units: bytes.
Does not: decompress.
Runs in: worker. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mirror.http.h2_errors import Code, H2ConnectionError
from mirror.http.h2_frames import END_HEADERS, END_STREAM, HAS_PRIORITY, Frame, u31, unpadded
from mirror.http.h2_limits import Guard, Limits

_PRIORITY_BYTES: Final = 5
_NO_STREAM: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A complete field block. `depends_on`: the stream that its priority names, or -1."""

    stream_id: int
    ends: bool
    depends_on: int
    fragment: bytes


class BlockAssembly:
    """The block that is arriving."""

    __slots__ = ("_depends_on", "_ends", "_frames", "_guard", "_limits", "_parts", "stream_id")

    def __init__(self, limits: Limits, guard: Guard) -> None:
        self._limits = limits
        self._guard = guard
        self._parts = bytearray()
        self._frames = 0
        self._depends_on = _NO_STREAM
        self._ends = False
        self.stream_id = 0  # 0: no block is open

    def __repr__(self) -> str:
        return f"<BlockAssembly stream={self.stream_id} bytes={len(self._parts)}>"

    @property
    def is_open(self) -> bool:
        """Whether only a CONTINUATION may come."""
        return self.stream_id != 0

    def begin(self, frame: Frame) -> Block | None:
        """Take a HEADERS frame; the block when that was all. Raises: H2ConnectionError."""
        fragment = unpadded(frame)
        depends_on = _NO_STREAM
        if frame.flags & HAS_PRIORITY:
            if len(fragment) < _PRIORITY_BYTES:
                raise H2ConnectionError(Code.FRAME_SIZE_ERROR, "HEADERS end in their priority.")
            depends_on = u31(fragment)
            fragment = fragment[_PRIORITY_BYTES:]
        ends = frame.flags & END_STREAM != 0
        if frame.flags & END_HEADERS:
            return Block(
                stream_id=frame.stream_id, ends=ends, depends_on=depends_on, fragment=fragment
            )
        self.stream_id = frame.stream_id
        self._depends_on = depends_on
        self._ends = ends
        self._add(fragment)
        return None

    def go_on(self, frame: Frame) -> Block | None:
        """Take a CONTINUATION of the open block; the block when it is complete.

        Raises: H2ConnectionError.
        """
        self._frames += 1
        if self._frames > self._limits.max_continuations:
            raise H2ConnectionError(
                Code.ENHANCE_YOUR_CALM, "A field block has too many CONTINUATION frames."
            )
        self._add(frame.payload)
        if not frame.flags & END_HEADERS:
            return None
        block = Block(
            stream_id=self.stream_id,
            ends=self._ends,
            depends_on=self._depends_on,
            fragment=bytes(self._parts),
        )
        self.stream_id = self._frames = 0
        self._parts = bytearray()
        return block

    def _add(self, fragment: bytes) -> None:
        if not fragment:
            self._guard.empty()
        if len(self._parts) + len(fragment) > self._limits.max_block_bytes:
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "A field block is too large.")
        self._parts += fragment
