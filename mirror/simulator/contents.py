"""Contents: the bytes of simulated objects, made as late and as cheaply as possible.

Rules:
1. A content is immutable; its digest is computed once, when somebody asks for it.
2. Ranges are half-open `[start, end)`.
3. Entity tags have the forms of S3: the MD5 of the bytes, or `<md5>-<parts>` for objects that
   would have been uploaded in parts (so an entity tag is not always a checksum).

Units: bytes. Does not: know names, dates or media types (`published.py`).
Runs in: simulator.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path

BLOCK_BYTES = 1 << 20
# S3's default part size in `aws s3 cp` is 8 MiB; larger uploads get a multipart entity tag.
PART_BYTES = 8 << 20


class Content:
    """Bytes of known length that can be read in pieces."""

    @property
    def length(self) -> int:
        raise NotImplementedError

    def read(self, start: int, end: int) -> bytes:
        raise NotImplementedError

    def blocks(self) -> Iterator[bytes]:
        """Yield the whole content in pieces of at most `BLOCK_BYTES`."""
        for start in range(0, self.length, BLOCK_BYTES):
            yield self.read(start, min(start + BLOCK_BYTES, self.length))

    @cached_property
    def sha256(self) -> bytes:
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.digest()

    @cached_property
    def etag(self) -> str:
        """The strong entity tag, with its quotes."""
        digest = hashlib.md5(usedforsecurity=False)
        for block in self.blocks():
            digest.update(block)
        return f'"{digest.hexdigest()}"'


class FixedContent(Content):
    """Bytes that exist already."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def length(self) -> int:
        return len(self._content)

    def read(self, start: int, end: int) -> bytes:
        return self._content[start:end]


class LazyContent(Content):
    """Bytes made by `make` when first needed (signatures, digests of big objects)."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make

    @cached_property
    def _content(self) -> bytes:
        return self._make()

    @property
    def length(self) -> int:
        return len(self._content)

    def read(self, start: int, end: int) -> bytes:
        return self._content[start:end]


class FileContent(Content):
    """A file of this machine, for example a real rustup binary; read whole at first use."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _content(self) -> bytes:
        return self._path.read_bytes()

    @property
    def length(self) -> int:
        return self._path.stat().st_size

    def read(self, start: int, end: int) -> bytes:
        return self._content[start:end]


class KeyedContent(Content):
    """Incompressible bytes of any length that cost a memory copy to make.

    Block `i` is one pseudo-random MiB rotated by an amount that depends on the name and on `i`,
    so two names, and two blocks of one name, differ from their first byte on.
    """

    def __init__(self, seed: int, name: str, length: int) -> None:
        self._length = length
        self._twice = _random_block_twice(seed)
        self._key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")

    @property
    def length(self) -> int:
        return self._length

    def read(self, start: int, end: int) -> bytes:
        pieces = []
        while start < end:
            index, within = divmod(start, BLOCK_BYTES)
            # An odd step visits every rotation before one repeats.
            rotation = (self._key + index * 0x9E3779B1) % BLOCK_BYTES
            stop = min(BLOCK_BYTES, within + end - start)
            pieces.append(self._twice[rotation + within : rotation + stop])
            start += stop - within
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @cached_property
    def etag(self) -> str:
        parts = -(-self._length // PART_BYTES)
        return f'"{self._key:032x}-{max(parts, 1)}"'


def digest_line(content: Content, name: str) -> bytes:
    """Return what `sha256sum` prints; `name` carries its mark for text (" ") or binary ("*")."""
    return f"{content.sha256.hex()} {name}\n".encode()


@lru_cache(maxsize=4)
def _random_block_twice(seed: int) -> bytes:
    """One object for all contents of a seed: thousands of them are alive at once."""
    return random.Random(f"block-{seed}").randbytes(BLOCK_BYTES) * 2
