"""Decoding of field blocks (RFC 7541) with bounds: around `hpack`, and without a table.

Rules:
1. The dynamic table has 4,096 bytes until the client acknowledges this server's SETTINGS, then
   none: the first block after must begin with the reduction unless the table is already empty by
   the client's own choice (RFC 9113 section 4.3.1). A client that never acknowledges is served.
2. A list up to twice the limit is decoded to its end, so that the table stays in step and the
   client can be told 431. Beyond that decoding stops; the connection stays usable only when there
   is no table that could be out of step.
3. At most two size updates begin a block (RFC 7541 section 4.2); `hpack` would read any number.
4. After the acknowledgement `hpack` is let go: blocks are read by `h2_context_free`.

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

from typing import Final

import hpack

from mirror.http.h2_context_free import ENTRY_BYTES, BlockReader, FieldLines, ReadBlock
from mirror.http.h2_errors import Code, H2ConnectionError

_MOST_SIZE_UPDATES: Final = 2
_SIZE_UPDATE: Final = 0x20
_SIZE_UPDATE_MASK: Final = 0xE0
_PREFIX: Final = 0x1F  # of the number in a size update: all ones says that more bytes follow
_MORE: Final = 0x80


class BlockDecoder:
    """The field blocks of one connection, in the order in which they come."""

    __slots__ = (
        "_decoder",
        "_max_field_lines",
        "_max_list_bytes",
        "_reader",
        "is_context_free",
        "last_read",
        "last_work_bytes",
    )

    def __init__(
        self, *, max_list_bytes: int, max_field_lines: int, reader: BlockReader | None = None
    ) -> None:
        """`reader`: what all connections of a worker share."""
        self._max_list_bytes = max_list_bytes
        self._max_field_lines = max_field_lines
        self._reader = reader or BlockReader()
        # None: the client has acknowledged that there is no table.
        self._decoder: hpack.Decoder | None = hpack.Decoder(max_header_list_size=2 * max_list_bytes)
        self.is_context_free = False  # and has reduced its own
        self.last_work_bytes = 0  # of the last block and its list: what decoding it cost
        # The last block from its first field on, when it was read without a table.
        self.last_read: ReadBlock | None = None

    def __repr__(self) -> str:
        table_bytes = 0 if self._decoder is None else self._decoder.header_table_size
        return f"<BlockDecoder table={table_bytes}>"

    def forbid_table(self) -> None:
        """The client acknowledged a table size of 0."""
        if self._decoder is not None:
            self.is_context_free = self._decoder.header_table_size == 0
            self._decoder = None

    def decode(self, block: bytes) -> FieldLines | None:
        """Return the field lines, or None when they are more than the limits admit.

        Raises: H2ConnectionError.
        """
        updates_end = _check_size_updates(block)
        self.last_read = None
        if self._decoder is None:
            return self._read(block, updates_end)
        try:
            lines = self._decoder.decode(block, raw=True)
        except hpack.OversizedHeaderListError as exc:
            self.last_work_bytes = len(block) + 2 * self._max_list_bytes
            if self._decoder.header_table_size > 0:
                raise H2ConnectionError(
                    Code.ENHANCE_YOUR_CALM, "A field list is far too large."
                ) from exc
            return None
        except hpack.HPACKError as exc:
            raise H2ConnectionError(
                Code.COMPRESSION_ERROR, "A field block cannot be decoded."
            ) from exc
        fields: FieldLines = [(name, value) for name, value in lines]
        list_bytes = sum([len(name) + len(value) for name, value in fields])
        return self._within_limits(block, fields, list_bytes + ENTRY_BYTES * len(fields))

    def _read(self, block: bytes, updates_end: int) -> FieldLines | None:
        """Rule 4. `updates_end`: where the first field begins."""
        # Each update is a byte, because none may say another size than 0.
        if block[:updates_end].strip(b"\x20") or not (self.is_context_free or updates_end):
            raise H2ConnectionError(
                Code.COMPRESSION_ERROR, "A field block uses a table that is not there."
            )
        self.is_context_free = True
        block = block[updates_end:]
        read = self._reader.read(block, 2 * self._max_list_bytes)
        if read.lines is None:
            self.last_work_bytes = len(block) + read.list_bytes
            return None
        self.last_read = read
        return self._within_limits(block, read.lines, read.list_bytes)

    def _within_limits(
        self, block: bytes, fields: FieldLines, list_bytes: int
    ) -> FieldLines | None:
        self.last_work_bytes = len(block) + list_bytes
        if list_bytes > self._max_list_bytes or len(fields) > self._max_field_lines:
            return None
        return fields


def _check_size_updates(block: bytes) -> int:
    """Return where the updates end. Raises: H2ConnectionError for too many of them."""
    at = count = 0
    while at < len(block) and block[at] & _SIZE_UPDATE_MASK == _SIZE_UPDATE:
        count += 1
        if count > _MOST_SIZE_UPDATES:
            raise H2ConnectionError(
                Code.COMPRESSION_ERROR, "A field block begins with too many size updates."
            )
        is_long = block[at] & _PREFIX == _PREFIX
        at += 1
        while is_long and at < len(block):
            is_long = block[at] & _MORE != 0
            at += 1
    return at
