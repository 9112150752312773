"""Archives: ustar, and the stored (uncompressed) forms of gzip and xz.

Rules:
1. Output is deterministic: owner 0, fixed times, entries in the order given.
2. Stored forms cost a copy and a checksum. Real compression of incompressible bytes with xz costs
   0.3 s per MB, which would make a believable tree slow to build; decoders cannot tell.

Does not: read archives. Runs in: simulator.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

_RECORD_BYTES = 512
_LZMA2_CHUNK_BYTES = 1 << 16
_XZ_FLAGS = b"\x00\x01"  # integrity check: CRC32


@dataclass(frozen=True, slots=True, kw_only=True)
class TarFile:
    """One regular file of an archive; a path ending in `/` is a directory."""

    path: str
    content: bytes = b""
    is_executable: bool = False


def ustar(files: Iterable[TarFile], *, modified_at: int) -> bytes:
    """Return an uncompressed POSIX ustar archive."""
    parts: list[bytes] = []
    for file in files:
        parts.append(_ustar_head(file, modified_at))
        parts.append(file.content)
        parts.append(bytes(-len(file.content) % _RECORD_BYTES))
    parts.append(bytes(2 * _RECORD_BYTES))
    return b"".join(parts)


def with_directories(files: Iterable[TarFile]) -> list[TarFile]:
    """Put an entry for each parent directory before its first file.

    Without them rustup warns "missing parent" once per file.
    """
    seen: set[str] = set()
    result: list[TarFile] = []
    for file in files:
        parents = file.path.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            directory = "/".join(parents[:depth]) + "/"
            if directory not in seen:
                seen.add(directory)
                result.append(TarFile(path=directory))
        result.append(file)
    return result


def _ustar_head(file: TarFile, modified_at: int) -> bytes:
    is_directory = file.path.endswith("/")
    name, prefix = file.path.encode(), b""
    if len(name) > 100:
        cut = name.rindex(b"/", 0, 156)
        prefix, name = name[:cut], name[cut + 1 :]
    mode = 0o755 if is_directory or file.is_executable else 0o644
    head = struct.pack(
        "100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x",
        name,
        b"%07o" % mode,
        b"%07o" % 0,
        b"%07o" % 0,
        b"%011o" % len(file.content),
        b"%011o" % modified_at,
        b" " * 8,
        b"5" if is_directory else b"0",
        b"",
        b"ustar",
        b"00",
        b"root",
        b"root",
        b"%07o" % 0,
        b"%07o" % 0,
        prefix,
    )
    return head[:148] + b"%06o\x00 " % sum(head) + head[156:]


def gzip_small(content: bytes) -> bytes:
    """Compress for real; for crates and other small text."""
    return gzip.compress(content, 6, mtime=0)


def gzip_stored(content: bytes) -> bytes:
    """Wrap into a gzip member of stored blocks."""
    return gzip.compress(content, 0, mtime=0)


def xz_stored(content: bytes) -> bytes:
    """Wrap into an xz stream of one block with uncompressed LZMA2 chunks (xz format 1.2.0)."""
    stream_head = b"\xfd7zXZ\x00" + _XZ_FLAGS + _crc32(_XZ_FLAGS)
    # One filter, LZMA2 (0x21), one property byte: dictionary of 1 MiB (0x10), padded to 8 bytes.
    block_fields = b"\x02\x00\x21\x01\x10\x00\x00\x00"
    block_head = block_fields + _crc32(block_fields)
    chunks = b"".join(_lzma2_chunks(content))
    block = block_head + chunks + bytes(-len(chunks) % 4) + _crc32(content)
    unpadded_bytes = len(block_head) + len(chunks) + 4
    records = b"\x00\x01" + _varint(unpadded_bytes) + _varint(len(content))
    index_fields = records + bytes(-len(records) % 4)
    index = index_fields + _crc32(index_fields)
    tail = struct.pack("<I", len(index) // 4 - 1) + _XZ_FLAGS
    return stream_head + block + index + _crc32(tail) + tail + b"YZ"


def _lzma2_chunks(content: bytes) -> Iterable[bytes]:
    for start in range(0, len(content), _LZMA2_CHUNK_BYTES):
        chunk = content[start : start + _LZMA2_CHUNK_BYTES]
        # 1: uncompressed with dictionary reset (first chunk), 2: without.
        yield struct.pack(">BH", 2 if start else 1, len(chunk) - 1)
        yield chunk
    yield b"\x00"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _crc32(content: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(content))
