"""Field blocks of a client that has no dynamic table (RFC 7541 section 6): a block says the same
on every connection.

Rules:
1. The table has a size of 0: a literal that is to be indexed is read and not kept (section 4.4),
   an index above the static table's is an error, and so is a size update to anything but 0.
2. A literal that is never to be indexed is read like one that is not.
3. A list is read up to twice the limit, as `h2_decoder` does with a table.
4. Literals that were met before are not decoded again. What is kept of them is bounded.

Measured: a block like cargo's 4.1 us, 12 if its path was never met, with `hpack` 33.

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hpack.table import HeaderTable

from mirror.http.h2_errors import Code, H2ConnectionError
from mirror.http.h2_huffman import HuffmanDecoder

FieldLines = list[tuple[bytes, bytes]]

ENTRY_BYTES: Final = 32  # overhead of one field (RFC 9113 section 6.5.2)
MAX_KEPT: Final = 4096  # literals of at most `MAX_KEPT_BYTES`: 2 MiB at most, with what they say
MAX_KEPT_BYTES: Final = 128
# Of an integer, behind its first byte: 2^28 is far above any length or index that is meant. `hpack`
# reads any number of them; section 5.1 makes too long an encoding an error.
MAX_INTEGER_BYTES: Final = 4
_STATIC: Final[tuple[tuple[bytes, bytes], ...]] = ((b"", b""), *HeaderTable.STATIC_TABLE)
_PATH: Final = b":path"
_TAG: Final = b"if-none-match"


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """`lines` None: they are more than twice the limit. `list_bytes`: as section 6.5.2 counts.

    `path_at`: where the literal of `:path` begins, and `path_end` where it ends; `tag_at`: where
    that of the only If-None-Match begins. -1: there is none, or it is none.
    """

    block: bytes
    lines: FieldLines | None
    list_bytes: int
    path_at: int = -1
    path_end: int = -1
    tag_at: int = -1


class BlockReader:
    """Reads for a whole worker."""

    __slots__ = ("_huffman", "_kept")

    def __init__(self) -> None:
        self._huffman = HuffmanDecoder()
        self._kept: dict[bytes, bytes] = {}

    def __repr__(self) -> str:
        return f"<BlockReader {len(self._kept)} literals>"

    def read(self, block: bytes, most_bytes: int) -> ReadBlock:
        """Read `block`, which begins with its first field.

        Raises: H2ConnectionError for what cannot be decoded.
        """
        try:
            return self._read(block, most_bytes)
        except IndexError as exc:  # of the block, or of the static table
            raise _failure() from exc

    def _read(self, block: bytes, most_bytes: int) -> ReadBlock:
        lines: FieldLines = []
        at = 0
        size = len(block)
        list_bytes = 0
        path_at = path_end = tag_at = tags = -1
        while at < size:
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 0x7F)
                if not index:
                    raise _failure()
                line = _STATIC[index]
            else:
                if first & 0x60 == 0x20:
                    raise _failure()  # a size update that does not begin the block
                index, at = _integer(block, at, 0x3F if first & 0x40 else 0x0F)
                if index:
                    name = _STATIC[index][0]
                else:
                    name, at = self._string(block, at)
                value_at = at
                value, at = self._string(block, at)
                line = (name, value)
                if name == _PATH:
                    path_at, path_end = value_at, at
                elif name == _TAG:
                    tags += 1
                    tag_at = -1 if tags else value_at
            lines.append(line)
            list_bytes += ENTRY_BYTES + len(line[0]) + len(line[1])
            if list_bytes > most_bytes:
                return ReadBlock(block, None, list_bytes)
        return ReadBlock(block, lines, list_bytes, path_at, path_end, tag_at)

    def _string(self, block: bytes, at: int) -> tuple[bytes, int]:
        """Read a string (section 5.2): what it says, and where the next begins."""
        begins_at = at
        is_coded = block[at] & 0x80
        size, at = _integer(block, at, 0x7F)
        end = at + size
        literal = block[begins_at:end]
        said = self._kept.get(literal)
        if said is not None:
            return said, end
        if end > len(block):
            raise _failure()
        raw = block[at:end]
        said = self._huffman.decode(raw) if is_coded else raw
        if said is None:
            raise _failure()
        if len(literal) <= MAX_KEPT_BYTES:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[literal] = said
        return said, end


def string_literal(raw: bytes, *, is_coded: bool) -> bytes:
    """Return `raw`, which is already coded if `is_coded`, with its length; at most 126 bytes."""
    return bytes((len(raw) | (0x80 if is_coded else 0),)) + raw


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Read an integer (section 5.1) whose prefix `mask` covers: it, and where the next begins."""
    number = block[at] & mask
    at += 1
    if number < mask:
        return number, at
    for shift in range(0, 7 * MAX_INTEGER_BYTES, 7):
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise _failure()


def _failure() -> H2ConnectionError:
    return H2ConnectionError(Code.COMPRESSION_ERROR, "A field block cannot be decoded.")
