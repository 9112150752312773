"""Decoding of field blocks (RFC 7541) with bounds around `hpack`.

Rules:
1. The dynamic table has 4,096 bytes until the client acknowledges this server's SETTINGS, then
   none: the first block after must begin with the reduction unless the table is already empty by
   the client's own choice (RFC 9113 section 4.3.1). A client that never acknowledges is served.
2. A list up to twice the limit is decoded to its end, so that the table stays in step and the
   client can be told 431. Beyond that decoding stops; the connection stays usable only when there
   is no table that could be out of step.
3. At most two size updates begin a block (RFC 7541 section 4.2); `hpack` would read any number.

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

from typing import Final

import hpack

from mirror.http.h2_errors import Code, H2ConnectionError

_ENTRY_BYTES: Final = 32  # overhead of one field (RFC 9113 section 6.5.2)
_MOST_SIZE_UPDATES: Final = 2
_SIZE_UPDATE: Final = 0x20
_SIZE_UPDATE_MASK: Final = 0xE0
_PREFIX: Final = 0x1F  # of the number in a size update: all ones says that more bytes follow
_MORE: Final = 0x80

FieldLines = list[tuple[bytes, bytes]]


class BlockDecoder:
    """The field blocks of one connection, in the order in which they come."""

    __slots__ = ("_decoder", "_max_field_lines", "_max_list_bytes", "last_work_bytes")

    def __init__(self, *, max_list_bytes: int, max_field_lines: int) -> None:
        self._max_list_bytes = max_list_bytes
        self._max_field_lines = max_field_lines
        self._decoder = hpack.Decoder(max_header_list_size=2 * max_list_bytes)
        self.last_work_bytes = 0  # of the last block and its list: what decoding it cost

    def __repr__(self) -> str:
        return f"<BlockDecoder table={self._decoder.header_table_size}>"

    def forbid_table(self) -> None:
        """The client acknowledged a table size of 0."""
        self._decoder.max_allowed_table_size = 0

    def decode(self, block: bytes) -> FieldLines | None:
        """Return the field lines, or None when they are more than the limits admit.

        Raises: H2ConnectionError.
        """
        _check_size_updates(block)
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
        list_bytes += _ENTRY_BYTES * len(fields)
        self.last_work_bytes = len(block) + list_bytes
        if list_bytes > self._max_list_bytes or len(fields) > self._max_field_lines:
            return None
        return fields


def _check_size_updates(block: bytes) -> None:
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
